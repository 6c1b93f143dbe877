"""What a request would cost, and how long its prompt is: nothing is sent."""

from __future__ import annotations

from aiohttp import web

from arbstr.engine.body_memory import BodyMemory
from arbstr.engine.dialects.body import decode
from arbstr.engine.dialects.messages import MESSAGES
from arbstr.engine.dialects.registry import dialect_of
from arbstr.engine.routing.router import Router
from arbstr.engine.sessions import Sessions
from arbstr.ledger.routing_json import routing_json
from arbstr.server.request import Request
from arbstr.server.request_body import RequestBody
from arbstr.server.responses import json_response
from arbstr.server.router import Route


class EstimateEndpoints:
    """Estimates for requests of any dialect."""

    def __init__(self, router: Router, sessions: Sessions, memory: BodyMemory) -> None:
        self._router = router
        self._sessions = sessions
        self._memory = memory

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("POST", "/v1/cost", self._cost, for_clients=True),
            Route("POST", "/v1/messages/count_tokens", self._count_tokens, for_clients=True),
        ]

    async def _cost(self, request: Request) -> web.Response:
        """Return what a request would cost and where."""
        body = await self._body(request)
        document = decode(body)
        dialect = dialect_of(document)
        prefix = self._router.caches.prefix_of(document, dialect.prompt_fields)
        client = None if request.client is None else request.client.name
        session = self._sessions.of(request.head.headers, document, dialect.name, client)
        asked = dialect.parse(
            document, body, request_id=request.id, policy=request.policy, prefix=prefix, session=session, client=client
        )
        return json_response(routing_json(self._router.preview(asked, request.client)))

    async def _count_tokens(self, request: Request) -> web.Response:
        """Return how many tokens a message's prompt is expected to have, by what was learned of the model.

        Raises `UnknownPolicy` and `ModelNotAllowed`, as the request itself would.
        """
        body = await self._body(request)
        asked = MESSAGES.parse(decode(body), body, request_id=request.id, policy=request.policy)
        if request.policy:
            self._router.rule(request.policy)
        self._router.check_client(request.client, asked.model)
        response = json_response({"input_tokens": self._router.input_tokens(asked), "estimate": True})
        response.headers["X-Arbstr-Estimate"] = "true"
        return response

    async def _body(self, request: Request) -> bytes:
        request_body = RequestBody(request, self._memory)
        try:
            return await request_body.read()
        finally:
            request_body.release()
