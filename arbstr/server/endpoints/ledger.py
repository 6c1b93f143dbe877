"""`/v1/stats` and `/v1/requests`: the ledger over HTTP."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from aiohttp import web

from arbstr.engine.routing.names import ModelNames, some
from arbstr.errors import InternalError, InvalidParameter, LedgerUnavailable, ModelNotFound, NotFound
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
from arbstr.server.responses import json_response
from arbstr.server.router import NamedRoute, Route

if TYPE_CHECKING:
    from arbstr import shapes

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
        Route("GET", "/v1/stats", api.stats),
        Route("GET", "/v1/requests", api.requests),
        NamedRoute("GET", "/v1/requests/", api.request),
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

    async def stats(self, request: web.BaseRequest) -> web.Response:
        """Return aggregates of the requests in a window, grouped if requested."""
        with _refusals():
            query = _given(request, params.STATS)
            where = read_filter(query, self._now())
            group_by = read_group_by(query, where)
            await self._check_names(where)
            stats = await self._reader.stats(where, group_by)
        return json_response(stats_json(stats, where, group_by, self._configured.get(group_by or "", ())))

    async def requests(self, request: web.BaseRequest) -> web.Response:
        """Return one page of the requests in a window."""
        with _refusals():
            asked = read_listing(_given(request, params.LISTING), self._now())
            await self._check_names(asked.where)
            page = await self._reader.page(asked.where, asked.sort, asked.order, asked.page, asked.per_page)
        document: shapes.RequestPage = {
            "data": [entry_json(entry) for entry in page.entries],
            "page": asked.page,
            "per_page": asked.per_page,
            "total": page.total,
            "total_pages": -(-page.total // asked.per_page),
            **window_json(asked.where),
        }
        return json_response(document)

    async def request(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """Return one request in full."""
        with _refusals():
            _given(request, ())
            detail = await self._reader.request(request_id.encode("utf-8", "replace").decode())
        if detail is None:
            raise NotFound(f"No finished request has the id {shown(request_id)}.", param="request_id")
        return json_response(detail_json(detail))

    async def _check_names(self, where: Filter) -> None:
        """Raise an error for a model or provider neither configured nor in the ledger: most likely a typo."""
        await self._check("model", where.model, self._names.all(), ModelNotFound)
        await self._check("provider", where.provider, self._configured["provider"], NotFound)

    async def _check(
        self, kind: Literal["model", "provider"], name: str | None, known: Iterable[str], error: type[NotFound]
    ) -> None:
        if name is None:
            return
        configured = list(known)
        if name.casefold() in [each.casefold() for each in configured]:
            return
        if not await self._reader.known(kind, name):
            message = (
                f"The {kind} {shown(name)} is neither configured nor in the ledger; configured: {some(configured)}"
            )
            raise error(with_hint(message, name, configured), param=kind)


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
