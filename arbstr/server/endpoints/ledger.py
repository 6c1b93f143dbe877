"""`/v1/stats` and `/v1/requests`: the ledger over HTTP.

A client's own key shows its own rows, as if there were no others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from aiohttp import web

from arbstr.engine.clients import KnownClient
from arbstr.engine.routing.names import ModelNames, some
from arbstr.errors import Forbidden, InternalError, InvalidParameter, LedgerUnavailable, ModelNotFound, NotFound
from arbstr.ledger import params
from arbstr.ledger.model import Filter, LedgerQueries
from arbstr.ledger.params import (
    BadParameter,
    read_filter,
    read_group_by,
    read_listing,
    refuse_unknown,
    shown,
    with_hint,
)
from arbstr.ledger.serialize import detail_json, entry_json, stats_json, window_json
from arbstr.server.request import Request
from arbstr.server.responses import json_response
from arbstr.server.router import NamedRoute, Route

if TYPE_CHECKING:
    from arbstr.ledger import shapes

logger = logging.getLogger(__name__)


def routes(
    reader: LedgerQueries,
    names: ModelNames,
    configured_providers: Sequence[str],
    now: Callable[[], int],
) -> list[Route | NamedRoute]:
    """Return the ledger's routes. `now` returns epoch milliseconds."""
    api = LedgerEndpoints(reader, names, configured_providers, now)
    return [
        Route("GET", "/v1/stats", api.stats, for_clients=True),
        Route("GET", "/v1/requests", api.requests, for_clients=True),
        NamedRoute("GET", "/v1/requests/", api.request, for_clients=True),
    ]


class LedgerEndpoints:
    """Reads parameters, queries the ledger, and builds the responses."""

    def __init__(
        self, reader: LedgerQueries, names: ModelNames, providers: Sequence[str], now: Callable[[], int]
    ) -> None:
        self._reader = reader
        self._names = names
        self._configured = {"model": names.configured, "provider": providers}
        self._now = now

    async def stats(self, request: Request) -> web.Response:
        """Return aggregates of the requests in a window, grouped if requested."""
        with _refusals():
            query = _given(request, params.STATS)
            where = _own_rows(read_filter(query, self._now()), request.client)
            group_by = read_group_by(query, where)
            await self._check_names(where, request.client)
            stats = await self._reader.stats(where, group_by)
        shown_without_traffic = self._configured_for(request.client).get(group_by or "", ())
        return json_response(stats_json(stats, where, group_by, shown_without_traffic))

    async def requests(self, request: Request) -> web.Response:
        """Return one page of the requests in a window."""
        with _refusals():
            asked = read_listing(_given(request, params.LISTING), self._now())
            where = _own_rows(asked.where, request.client)
            await self._check_names(where, request.client)
            page = await self._reader.page(where, asked.sort, asked.order, asked.page, asked.per_page)
        document: shapes.RequestPage = {
            "data": [entry_json(entry) for entry in page.entries],
            "page": asked.page,
            "per_page": asked.per_page,
            "total": page.total,
            "total_pages": -(-page.total // asked.per_page),
            **window_json(where),
        }
        return json_response(document)

    async def request(self, request: Request, request_id: str) -> web.Response:
        """Return one request in full; to a client, another's is not there."""
        with _refusals():
            _given(request, ())
            detail = await self._reader.request(request_id.encode("utf-8", "replace").decode())
        client = request.client
        if detail is None or (client is not None and not client.is_named(detail.entry.client)):
            raise NotFound(f"No finished request has the id {shown(request_id)}.", param="request_id")
        return json_response(detail_json(detail))

    def _configured_for(self, client: KnownClient | None) -> Mapping[str, Sequence[str]]:
        """Return the models and providers that are configured, as far as they concern the client."""
        if client is None:
            return self._configured
        models = self._configured["model"]
        return {"model": [one for one in models if client.allows(one, self._names.resolve(one))]}

    async def _check_names(self, where: Filter, client: KnownClient | None) -> None:
        """Raise an error for a model or provider neither configured nor in the ledger: most likely a typo.

        To a client only its own rows are there, and no provider is.
        """
        models, providers = [*self._names.all()], self._configured["provider"]
        if client is not None:
            models, providers = [one for one in models if client.allows(one, self._names.resolve(one))], ()
        await self._check("model", where.model, models, ModelNotFound, client)
        await self._check("provider", where.provider, providers, NotFound, client)

    async def _check(
        self,
        kind: Literal["model", "provider"],
        name: str | None,
        known: Iterable[str],
        error: type[NotFound],
        client: KnownClient | None,
    ) -> None:
        if name is None:
            return
        configured = list(known)
        if name.casefold() in [each.casefold() for each in configured]:
            return
        if not await self._is_logged(kind, name, client):
            message = (
                f"The {kind} {shown(name)} is neither configured nor in the ledger; configured: {some(configured)}"
            )
            raise error(with_hint(message, name, configured), param=kind)

    async def _is_logged(self, kind: Literal["model", "provider"], name: str, client: KnownClient | None) -> bool:
        if client is None:
            return await self._reader.known(kind, name)
        asked = Filter(client=client.name, model=name) if kind == "model" else Filter(client=client.name, provider=name)
        return await self._reader.count(asked) > 0


def _own_rows(where: Filter, client: KnownClient | None) -> Filter:
    """Return the filter within a client's rows. Raises `Forbidden` where it asks for another's."""
    if client is None:
        return where
    if where.client is not None and not client.is_named(where.client):
        raise Forbidden(
            "A client's key shows its own requests alone; send server.auth_token for others'.", param="client"
        )
    return replace(where, client=client.name)


def _given(request: web.BaseRequest, known: Sequence[str]) -> dict[str, str]:
    refuse_unknown([name for name, _ in request.query.items()], known)
    return dict(request.query)


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except BadParameter as bad:
        raise InvalidParameter(str(bad), param=bad.name) from bad
    except LedgerUnavailable as error:
        logger.warning("a ledger query failed: %s", error)
        raise InternalError("The ledger cannot be read right now; see arbstr's log.") from error
