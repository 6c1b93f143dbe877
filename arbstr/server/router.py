"""Maps methods and paths to endpoints. Below `/policy/NAME` the same paths name a policy.

A client's own key opens only the endpoints that are marked `for_clients`: those look at who asks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import NamedTuple, TypeVar
from urllib.parse import unquote

from aiohttp import web

from arbstr.errors import Forbidden, MethodNotAllowed, NotFound
from arbstr.sanitize import sanitize
from arbstr.server.request import Request
from arbstr.suggest import did_you_mean

Handler = Callable[[Request], Awaitable[web.StreamResponse]]
NamedHandler = Callable[[Request, str], Awaitable[web.StreamResponse]]

_Handlers = TypeVar("_Handlers")
_VERSION = "/v1"
_POLICY = "/policy/"


class Route(NamedTuple):
    """The handler of one method and path."""

    method: str
    path: str
    handler: Handler
    for_clients: bool = False


class NamedRoute(NamedTuple):
    """The handler of one method and path prefix; it also gets the rest of the path."""

    method: str
    prefix: str
    handler: NamedHandler
    for_clients: bool = False


class EndpointRouter:
    """Finds handlers. A HEAD request gets a GET request's response, whose body the server leaves out.

    `check_policy` raises `UnknownPolicy` for a name that no policy has; what is posted is checked where it is recorded.
    """

    def __init__(
        self, routes: Iterable[Route | NamedRoute], check_policy: Callable[[str], object] = lambda name: None
    ) -> None:
        self._check_policy = check_policy
        self._exact: dict[str, dict[str, Handler]] = {}
        self._named: dict[str, dict[str, NamedHandler]] = {}
        self._served: list[str] = []
        for route in routes:
            if isinstance(route, Route):
                handler = route.handler if route.for_clients else partial(_for_owner, route.handler)
                self._exact.setdefault(route.path, {})[route.method] = handler
            else:
                named = route.handler if route.for_clients else partial(_named_for_owner, route.handler)
                self._named.setdefault(route.prefix, {})[route.method] = named
            self._served.append(f"{route.method} {route[1]}{'' if isinstance(route, Route) else '…'}")
        _add_shorter(self._exact)
        _add_shorter(self._named)

    def find(self, request: Request) -> Handler:
        """Return the handler of a request. Raises `NotFound`, `MethodNotAllowed` or `UnknownPolicy`."""
        by_method = self._exact.get(request.raw_path)  # as it came first: most paths need no decoding
        handler = None if by_method is None else by_method.get(request.method)
        return handler or self._look_for(request)

    def _look_for(self, request: Request) -> Handler:
        if not request.raw_path.startswith(_POLICY):
            return self._look_up(request.path, request.method)
        request.path_policy, path = _policy_and_path(request.raw_path)
        handler = self._look_up(path, request.method)
        if request.method != "POST":
            self._check_policy(request.path_policy)
        return handler

    def _look_up(self, path: str, method: str) -> Handler:
        answered = "GET" if method == "HEAD" else method
        if (by_method := self._exact.get(path)) is not None:
            if answered in by_method:
                return by_method[answered]
            raise _not_allowed(sanitize(path), method, by_method)
        for prefix, by_method_named in self._named.items():
            rest = path.removeprefix(prefix)
            if path.startswith(prefix) and rest:
                if answered in by_method_named:
                    return partial(_with_rest, by_method_named[answered], rest)
                raise _not_allowed(sanitize(path), method, by_method_named)
        meant = did_you_mean(path, self._exact, str)
        served = f"Available, also below /policy/NAME: {', '.join(self._served)}."
        raise NotFound(f"There is no endpoint {sanitize(path)}{f'; {meant}' if meant else '.'} {served}")


def _policy_and_path(raw_path: str) -> tuple[str, str]:
    """Return the policy that a path below `/policy/` names, and the rest of the path."""
    name, _, rest = raw_path.partition("?")[0].removeprefix(_POLICY).partition("/")
    return unquote(name), f"/{unquote(rest)}"


def _add_shorter(paths: dict[str, _Handlers]) -> None:
    """Serve /v1/x at /x as well: many clients' base URLs lack /v1."""
    for path, handlers in list(paths.items()):
        if path.startswith(_VERSION + "/"):
            paths.setdefault(path.removeprefix(_VERSION), handlers)


def _check_owner(request: Request) -> None:
    if request.client is not None:
        message = (
            f"A client's key does not open {sanitize(request.path)}: it tells of others too. Send server.auth_token."
        )
        raise Forbidden(message)


async def _for_owner(handler: Handler, request: Request) -> web.StreamResponse:
    _check_owner(request)
    return await handler(request)


async def _named_for_owner(handler: NamedHandler, request: Request, rest: str) -> web.StreamResponse:
    _check_owner(request)
    return await handler(request, rest)


async def _with_rest(handler: NamedHandler, rest: str, request: Request) -> web.StreamResponse:
    return await handler(request, rest)


def _not_allowed(path: str, method: str, by_method: Iterable[str]) -> MethodNotAllowed:
    allowed = sorted({*by_method, "HEAD"} if "GET" in by_method else by_method)
    return MethodNotAllowed(f"{path} accepts {', '.join(allowed)}, not {method}.", allowed=allowed)
