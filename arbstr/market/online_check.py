"""Asks each configured provider whether it is what the configuration says: address, key, money and models.

Nothing is bought. What is wrong comes as sentences that say where and how to mend it; a server's own words in them are
sanitized, and secrets masked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from arbstr.config.schema import Provider
from arbstr.engine.routing.listing import ListedModel, Listing
from arbstr.market.balance_reading import read_balance, read_version
from arbstr.market.fetching import Fetched, FetchFailed, fetch, get_request
from arbstr.market.model_lists import read_ids, read_priced
from arbstr.redaction import Redactor
from arbstr.sanitize import quoted, sanitize_clause
from arbstr.suggest import did_you_mean
from arbstr.types import Balance

WITHIN_S = 20.0

_NAMED = 5  # models, in one sentence
_NO_SUCH_PATH = ("HTTP 400", "HTTP 404", "HTTP 405")


class Checked(NamedTuple):
    """What a provider answered: its models (None: it did not say) and balance; `problems` follow its name."""

    provider: Provider
    models: tuple[ListedModel, ...] | None = None
    balance: Balance | None = None
    version: str | None = None
    problems: tuple[str, ...] = ()


async def check_all(
    providers: Sequence[Provider], transport: httpx.AsyncBaseTransport, redactor: Redactor, now_ms: int
) -> list[Checked]:
    """Ask all providers at once."""
    return await asyncio.gather(*(_check(provider, transport, redactor, now_ms) for provider in providers))


async def _check(provider: Provider, transport: httpx.AsyncBaseTransport, redactor: Redactor, now_ms: int) -> Checked:
    try:
        checked = await _checked(provider, transport, now_ms)
    except FetchFailed as error:
        checked = Checked(provider, problems=(_unreachable(provider, error),))
    version = None if checked.version is None else redactor.text(checked.version)
    return checked._replace(version=version, problems=tuple(map(redactor.text, checked.problems)))


async def _checked(provider: Provider, transport: httpx.AsyncBaseTransport, now_ms: int) -> Checked:
    answer = await _get(transport, provider, f"{provider.url}/models")
    models = _models(provider, answer)
    if models is None:
        return Checked(provider, problems=(await _wrong_answer(transport, provider, answer),))
    checked = Checked(provider, models, problems=tuple(_unsold(provider, models)))
    return checked if provider.kind == "openai" else await _with_money(transport, checked, now_ms)


async def _get(transport: httpx.AsyncBaseTransport, provider: Provider, url: str, *, with_key: bool = True) -> Fetched:
    key = provider.api_key if with_key else None
    request = get_request(url, key=key, proxy=provider.proxy, connect_s=provider.timeouts.connect)
    return await fetch(transport, request, within_s=WITHIN_S)


def _models(provider: Provider, answer: Fetched) -> tuple[ListedModel, ...] | None:
    """Return the models in an answer, None if it lists none that can be used."""
    if answer.status != httpx.codes.OK:
        return None
    read = read_priced if provider.kind == "routstr" else read_ids
    return read(answer.document, str.isprintable) or None


# --- the address


def _unreachable(provider: Provider, error: FetchFailed) -> str:
    """Return the sentence for a provider from which no answer came."""
    parts = urlsplit(provider.url)
    why = sanitize_clause(str(error))
    match error.kind:
        case "name":
            return f".url: the host name {parts.hostname} does not resolve ({why}); check its spelling and your network"
        case "tls":
            scheme = "https works only with a valid certificate; check the host name, and that the port speaks TLS"
            return f".url: no secure connection to {parts.netloc} ({why}); {scheme}"
        case "timeout":
            return f".url: {parts.netloc} does not answer in time ({why}); it may be down, or the port be wrong"
        case "size":
            return f".url: its list of models can't be used ({why}); check the URL"
        case "proxy" | "url":
            return f": its proxy does not connect ({why}); check the proxy"
        case _:
            return f".url: {parts.netloc} can't be asked ({why}); it may be down, or the URL be wrong"


async def _wrong_answer(transport: httpx.AsyncBaseTransport, provider: Provider, answer: Fetched) -> str:
    """Return the sentence for a provider whose answer is no list of models."""
    status = answer.status
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        mend = "check api_key" if provider.api_key is not None else "set api_key"
        refused = "it" if provider.api_key is not None else "requests without one"
        return f".api_key: the provider refuses {refused} (HTTP {status}); {mend}"
    if httpx.codes.is_redirect(status):
        return f".url leads elsewhere (HTTP {status}), which arbstr does not follow; write the address it leads to"
    if httpx.codes.is_server_error(status) or status == httpx.codes.TOO_MANY_REQUESTS:
        return f": the provider fails (HTTP {status}); try again later"
    if not urlsplit(provider.url).path.endswith("/v1") and await _has_models(transport, provider):
        return f".url lacks /v1; write {provider.url}/v1"
    if status == httpx.codes.OK and provider.kind == "routstr" and read_ids(answer.document, str.isprintable):
        return ".kind: the provider lists models without prices, so it is no Routstr node; set kind to openai"
    what = "a Routstr node" if provider.kind == "routstr" else "an OpenAI-compatible server"
    said = f"HTTP {status}" if status != httpx.codes.OK else "no list of models"
    return f".url is not {what}: {provider.url}/models answers {said}; check the URL, which mostly ends in /v1"


async def _has_models(transport: httpx.AsyncBaseTransport, provider: Provider) -> bool:
    """Return whether a list of models, or a demand for a key, is where it would be with `/v1`."""
    try:
        answer = await _get(transport, provider, f"{provider.url}/v1/models", with_key=False)
    except FetchFailed:
        return False
    return answer.status == httpx.codes.UNAUTHORIZED or bool(read_ids(answer.document, str.isprintable))


# --- the money


async def _with_money(transport: httpx.AsyncBaseTransport, checked: Checked, now_ms: int) -> Checked:
    """Return what was found with what a node says of itself and of the key."""
    provider = checked.provider
    with suppress(FetchFailed):
        checked = checked._replace(version=await read_version(transport, provider))
    if provider.is_inert:
        return checked
    try:
        balance = await read_balance(transport, provider, now_ms)
    except FetchFailed as error:
        return checked._replace(problems=(_no_balance(provider, error), *checked.problems))
    return checked._replace(balance=balance, problems=(*_money_problems(provider, balance), *checked.problems))


def _no_balance(provider: Provider, error: FetchFailed) -> str:
    why = sanitize_clause(str(error))
    if error.kind == "content" or why in _NO_SUCH_PATH:
        said = why if error.kind == "status" else "no balance"
        return f".url is not a Routstr node: {provider.url}/balance/info answers {said}; set kind to openai"
    return f": its balance can't be read ({why}); try again later"


def _money_problems(provider: Provider, balance: Balance) -> list[str]:
    fund = f"'arbstr fund {provider.name}'"
    if balance.state == "bad_key":
        return [f".api_key: the node does not know it; check it, or remove it and get one with {fund}"]
    if balance.state == "expired":
        refund = f"'arbstr refund {provider.name}' gets back what it holds"
        return [f".api_key: the key has expired there; {refund}; then remove it, and get a new one with {fund}"]
    if not balance.free_msats and not balance.reserved_msats:
        return [f".api_key: the key holds nothing, it was refunded or is used up; top it up with {fund}"]
    return []


# --- the models


def _unsold(provider: Provider, listed: Sequence[ListedModel]) -> list[str]:
    """Return a sentence for the configured models that are not on the provider's list."""
    listing = Listing(tuple(listed), cuts_dates=provider.kind == "routstr")
    missing = [model for model in provider.model_ids if listing.find(provider.upstream_id(model)) is None]
    if not missing:
        return []
    names = ", ".join(quoted(provider.upstream_id(model)) for model in missing[:_NAMED])
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    hint = did_you_mean(provider.upstream_id(missing[0]), listing.ids) or "remove what it does not sell, or correct it"
    return [f".models: the provider does not list {names}{more}; {hint}"]
