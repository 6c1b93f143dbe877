"""The first configuration: the example, its comments too, with the user's own provider in place of its examples."""

from __future__ import annotations

import json
import re
import secrets
from urllib.parse import urlsplit

from pydantic import ValidationError

from arbstr.config.address import Address
from arbstr.config.diagnostics import format_error
from arbstr.config.loader import convention_variable
from arbstr.config.schema import Provider
from arbstr.config.table_writing import free_name
from arbstr.config.toml_file import escaped, example_path
from arbstr.errors import ConfigError

DEFAULT_URL = "https://api.routstr.com/v1"
_HEAD = "# arbstr's configuration: every option with its default. After a change, validate it with:  arbstr check\n#\n"
_LISTED = ("models", "input_rate", "output_rate", "base_fee")  # a Routstr node tells its own
_COMMENT_COLUMN = 32


def name_for(url: str) -> str:
    """Return a provider's name for its URL: the first part of its host that tells anything, `node` if none does."""
    labels = (urlsplit(url).hostname or "").split(".")[:-1]
    telling = [label for label in labels if label not in ("api", "www") and not label.isdigit()]
    return free_name(telling[0] if telling else "", ())


def starter_text(url: str, name: str, address: Address) -> str:
    """Return the text of a first configuration, whose provider is a Routstr node.

    Where it listens beyond this machine, clients need a token, which is made up. Raises ConfigError for a provider that
    would be refused.
    """
    check_provider(url, name)
    _, _, text = example_path().read_text(encoding="utf-8").partition("\n#\n# ${VAR}")
    server, mark, text = text.partition("# One [[providers]] table")
    providers, heading, others = text.partition("[aliases]")
    server = _with(server, "listen", str(address))
    if not address.is_loopback:
        server = _with(server, "auth_token", secrets.token_urlsafe(32))
    return f"{_HEAD}# ${{VAR}}{server}{mark}{_provider(providers, url, name)}{heading}{_without_rule(others)}"


def check_provider(url: str, name: str = "node") -> None:
    """Raise ConfigError with what is wrong with a provider's URL or name."""
    provider = {"name": name, "url": url, "kind": "routstr"}
    try:
        Provider.model_validate(provider, strict=True)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        raise ConfigError([format_error(one, provider.get(str(one["loc"][0]))) for one in details]) from None


def _provider(text: str, url: str, name: str) -> str:
    """Return the first of the example's providers as the user's own, and no other."""
    table, _, _ = text.partition('[[providers]]\nname = "provider-beta"')
    table = table.replace("ARBSTR_PROVIDER_ALPHA_API_KEY", convention_variable(name) or "not for this name")
    for key, value in (("name", name), ("url", url), ("kind", "routstr")):
        table = _with(table, key, escaped(value))
    listed = tuple(f"{key} = " for key in _LISTED)
    return "".join(f"# {line}" if line.startswith(listed) else line for line in table.splitlines(keepends=True))


def _without_rule(text: str) -> str:
    """Return the policies and what follows, with the example of a rule as a comment."""
    before, heading, after = text.partition("[[policies.rules]]\n")
    rule, budget, rest = after.partition("\n[budget]")
    lines = (heading + rule).splitlines(keepends=True)
    return before + "".join(line if line.startswith("#") else f"# {line}" for line in lines) + budget + rest


def _with(text: str, key: str, value: str) -> str:
    """Return the text with a key's first line, in force or not, set to this string; the comment behind it stays."""

    def changed(match: re.Match[str]) -> str:
        assignment = f"{key} = {json.dumps(value, ensure_ascii=False)}"
        return f"{assignment:{_COMMENT_COLUMN - 2}}  {match['comment']}" if match["comment"] else assignment

    return re.sub(rf"^(?:# )?{key} = .*?(?:[ ]+(?P<comment># .*))?$", changed, text, count=1, flags=re.MULTILINE)
