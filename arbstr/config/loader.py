"""Loads the configuration file: expands variables, looks up keys, checks everything, reports all problems."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from arbstr.config.aliases import alias_problems
from arbstr.config.clients import digest_of
from arbstr.config.diagnostics import SET_BY_LOADER, format_error, unknown_key
from arbstr.config.environment import problem_with, value_of
from arbstr.config.schema import Breaker, Config
from arbstr.config.toml_file import ConfigFile, Loc, expand, is_literal, key_path, read, refers, sentence, tables
from arbstr.config.warnings import TOKENS, WEBHOOK, warnings
from arbstr.errors import ConfigError
from arbstr.redaction import UNFIT, fits_header
from arbstr.sanitize import quoted
from arbstr.suggest import did_you_mean
from arbstr.transport.hosts import is_onion
from arbstr.types import CLIENT_SCOPE

Table = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid configuration, what to warn of, and the file it came from (None: built in), with its state then."""

    config: Config
    warnings: tuple[str, ...] = ()
    path: Path | None = None
    file_state: str = ""


def load(path: Path, environ: Mapping[str, str], *, mock: bool = False) -> Loaded:
    """Read the file. Raises ConfigError with every problem in it; `mock` needs no providers."""
    file = read(path)
    by_place: dict[Loc, str] = {}  # problems, at most one for each value
    tree = expand(file.table, environ, by_place)
    by_place = {loc: f"{key_path(loc)} {problem}" for loc, problem in by_place.items()}
    found = _resolve_keys(file.table, tree, environ, by_place)
    config = _validate(file, tree, by_place)
    problems = [*by_place.values(), *_cross_checks(file.table, tree, mock=mock)]
    if config is not None:
        takes_any = mock or not all(provider.models for provider in config.providers)
        problems += alias_problems(config.aliases, config.providers, takes_any_model=takes_any)
    if config is None or problems:
        raise ConfigError([sentence(path, problem) for problem in problems])
    found += warnings(file, config, environ, mock=mock)
    return Loaded(config, tuple(sentence(path, warning) for warning in found), path, file.state)


def convention_variable(name: str) -> str | None:
    """Return the variable looked up for a provider without `api_key`; None for a name without ASCII letter or digit."""
    snake = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")
    return f"ARBSTR_{snake}_API_KEY" if snake else None


def _validate(file: ConfigFile, tree: Table, by_place: dict[Loc, str]) -> Config | None:
    """Return the configuration, or None; adds pydantic's errors at places that have no problem yet."""
    try:
        return Config.model_validate(tree, strict=True)
    except ValidationError as error:
        # Without inputs: they may be keys, and the values to show are the file's own anyway.
        details = error.errors(include_url=False, include_input=False)
    for detail in details:
        by_place.setdefault(detail["loc"], format_error(detail, _written(file.table, detail["loc"])))
    return None


def _written(table: Any, loc: Loc) -> Any:
    """Return the value at a place as the file has it, None if it isn't there."""
    for part in loc:
        if isinstance(table, dict):
            table = table.get(part)
        elif isinstance(table, list) and isinstance(part, int):
            table = table[part]
    return table


# --- keys


def _resolve_keys(written: Table, tree: Table, environ: Mapping[str, str], by_place: dict[Loc, str]) -> list[str]:
    """Put each provider's key and its source into the tree, problems into `by_place`; return warnings."""
    warnings, users = [], dict[str, str]()
    for (loc, provider), (_, as_written) in zip(tables(tree, "providers"), tables(written, "providers"), strict=True):
        by_place |= {(*loc, key): unknown_key((*loc, key)) for key in SET_BY_LOADER if key in as_written}
        by_place |= _empty_references((*loc, "api_key"), as_written.get("api_key"), environ)
        name = str(provider.get("name", ""))
        _resolve_key(provider, as_written, name, environ)
        if provider["key_source"] != "convention":
            continue
        variable = str(provider["key_variable"])
        if problem := _unusable_key(variable, environ):
            by_place[*loc, "api_key"] = f"{key_path(loc)} takes its key from {variable}, which {problem}"
        if users.setdefault(variable, name) != name:
            # Two names can stand for one variable; one provider must not get the other's key unnoticed.
            warnings.append(f"{quoted(users[variable])} and {quoted(name)} both take their key from {variable}")
    for key in TOKENS:
        by_place |= _empty_references(("server", key), _token(written, key), environ)
    for key in WEBHOOK:
        by_place |= _empty_references(("alerts", key), _written(written, ("alerts", key)), environ)
    return warnings


def _resolve_key(provider: Table, as_written: Table, name: str, environ: Mapping[str, str]) -> None:
    """Set the provider's `key_source` and `key_variable`, and its `api_key` where the convention's variable has it."""
    variable = convention_variable(name)
    provider |= {"key_source": "none", "key_variable": variable}
    if "api_key" in as_written:
        text = as_written["api_key"]
        refers_only = isinstance(text, str) and not is_literal(text)
        provider["key_source"] = "environment reference" if refers_only else "literal"
        if refers_only:
            provider["key_variable"] = ", ".join(refers(text))
    elif variable and (key := value_of(environ, variable)):
        provider |= {"key_source": "convention", "api_key": key}


def _unusable_key(variable: str, environ: Mapping[str, str]) -> str | None:
    if problem := problem_with(environ, variable):
        return problem
    return None if fits_header(value_of(environ, variable) or "") else UNFIT


def _empty_references(loc: Loc, text: Any, environ: Mapping[str, str]) -> dict[Loc, str]:
    empty = [name for name in refers(text) if value_of(environ, name) == ""] if isinstance(text, str) else []
    return {loc: f"{key_path(loc)} needs the environment variable {empty[0]}, which is empty; set it"} if empty else {}


def _token(table: Table, key: str) -> Any:
    server = table.get("server")
    return server.get(key) if isinstance(server, dict) else None


# --- what no single value shows


def _cross_checks(written: Table, tree: Table, *, mock: bool) -> Iterator[str]:
    for path in (("providers",), ("policies", "rules"), ("mock", "providers"), ("clients",)):
        yield from _duplicate_names(written, tree, path)
    if not (mock or tree.get("providers")):
        yield "providers is empty: no providers are configured; add a [[providers]] table with name and url"
    yield from _unknown_providers(written, tree)
    yield from _unreachable_onions(tree)
    yield from _client_problems(written, tree)
    yield from _breaker_times(tree)
    if isinstance(token := _token(tree, "metrics_token"), str) and token == _token(tree, "auth_token"):
        yield "server.metrics_token is server.auth_token, and would open everything; choose another"


def _duplicate_names(written: Table, tree: Table, path: tuple[str, ...]) -> Iterator[str]:
    """Yield problems with names that differ at most in case: endpoints look them up ignoring case."""
    first: dict[str, Loc] = {}
    for loc, name in _names(tree, *path):
        if other := first.get(name.casefold()):
            yield f"{key_path(loc)} is {quoted(_written(written, loc))}, already used by {key_path(other)}; rename one"
        first.setdefault(name.casefold(), loc[:-1])


def _unknown_providers(written: Table, tree: Table) -> Iterator[str]:
    known = {name: _written(written, loc) for loc, name in _names(tree, "providers")}
    for loc, rule in tables(tree, "policies", "rules"):
        for key in ("providers", "exclude_providers"):
            names = rule.get(key)
            for i, name in enumerate(names if isinstance(names, tuple) else ()):
                if isinstance(name, str) and name not in known:
                    yield _unknown_provider((*loc, key, i), written, [*known.values()])


def _unknown_provider(loc: Loc, written: Table, known: list[str]) -> str:
    name = _written(written, loc)
    hint = did_you_mean(name, known) or f"the providers are {', '.join(known) or 'none so far'}"
    return f"{key_path(loc)} is {quoted(name)}, but no provider has that name; {hint}"


def _client_problems(written: Table, tree: Table) -> Iterator[str]:
    """Yield keys that two have, policies that don't exist, and names whose budgets would be taken for a rule's."""
    token = _token(tree, "auth_token")
    first = {digest_of(token): "server.auth_token"} if isinstance(token, str) else {}
    rules = {name: _written(written, loc) for loc, name in _names(tree, "policies", "rules")}
    for loc, client in tables(tree, "clients"):
        digest, policy, name = (client.get(key) for key in ("key_sha256", "policy", "name"))
        if isinstance(digest, str) and (other := first.setdefault(digest, key_path(loc))) != key_path(loc):
            yield f"{key_path((*loc, 'key_sha256'))} is of the same key as {other}; give each its own"
        if isinstance(policy, str) and policy not in rules:
            asked, known = _written(written, (*loc, "policy")), [*rules.values()]
            hint = did_you_mean(asked, known) or f"the rules are {', '.join(known) or 'none so far'}"
            yield f"{key_path((*loc, 'policy'))} is {quoted(asked)}, but no rule has that name; {hint}"
        if isinstance(name, str) and f"{CLIENT_SCOPE}{name}" in rules:
            yield f"{key_path((*loc, 'name'))} is that of a rule, {quoted(f'{CLIENT_SCOPE}{name}')}; rename the rule"


def _names(tree: Table, *path: str) -> Iterator[tuple[Loc, str]]:
    for loc, table in tables(tree, *path):
        if isinstance(name := table.get("name"), str):
            yield (*loc, "name"), name


def _unreachable_onions(tree: Table) -> Iterator[str]:
    for loc, provider in tables(tree, "providers"):
        url, proxy = provider.get("url"), provider.get("proxy")
        if _is_onion_url(url) and not (isinstance(proxy, str) and proxy.startswith("socks5")):
            advice = 'add proxy = "socks5h://127.0.0.1:9050" (or the address of your Tor) to that table'
            place = key_path((*loc, "url"))
            yield f"{place} is an .onion address, which needs a SOCKS proxy; {advice}"


def _is_onion_url(url: Any) -> bool:
    try:
        return isinstance(url, str) and is_onion(urlsplit(url).hostname or "")
    except ValueError:  # no URL at all, which is said elsewhere
        return False


def _breaker_times(tree: Table) -> Iterator[str]:
    breaker = tree.get("breaker")
    if not isinstance(breaker, dict):
        return
    shortest, longest = (breaker.get(key, Breaker.model_fields[key].default) for key in ("open_for", "max_open_for"))
    if isinstance(shortest, int | float) and isinstance(longest, int | float) and longest < shortest:
        yield f"breaker.max_open_for ({longest}) is less than breaker.open_for ({shortest}); raise it"
