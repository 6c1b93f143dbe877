"""What is served where: a path and a method find their answer, or the reason why there is none."""

from __future__ import annotations

from typing import cast

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from arbstr.errors import MethodNotAllowed, NotFound
from arbstr.server.request import Request
from arbstr.server.router import EndpointRouter, NamedRoute, Route


async def listing(request: web.BaseRequest) -> web.Response:
    return web.Response(text="all")


async def adding(request: web.BaseRequest) -> web.Response:
    return web.Response(text="added")


async def one(request: web.BaseRequest, name: str) -> web.Response:
    return web.Response(text=name)


ROUTES = EndpointRouter(
    [
        Route("GET", "/things", listing, for_clients=True),
        Route("POST", "/things", adding, for_clients=True),
        NamedRoute("GET", "/things/", one, for_clients=True),
    ]
)


def asked(method: str, path: str) -> Request:
    return cast("Request", make_mocked_request(method, path))  # routing reads only method and path


async def answered(method: str, path: str) -> str | None:
    request = asked(method, path)
    response = await ROUTES.find(request)(request)
    assert isinstance(response, web.Response)
    return response.text


@pytest.mark.parametrize(
    ("method", "path", "text"),
    [
        ("GET", "/things", "all"),
        ("POST", "/things", "added"),
        ("HEAD", "/things", "all"),
        ("GET", "/things?page=2", "all"),
        ("GET", "/%74hings", "all"),
        ("GET", "/things/a", "a"),
        ("HEAD", "/things/a", "a"),
        ("GET", "/things/a/b", "a/b"),
        ("GET", "/things/a%20b%2Fc?x=1", "a b/c"),
    ],
)
async def test_a_path_finds_its_answer(method: str, path: str, text: str) -> None:
    assert await answered(method, path) == text


@pytest.mark.parametrize("path", ["/", "/thing", "/things/", "/thingsa", "//things", "/THINGS"])
async def test_any_other_path_is_not_found(path: str) -> None:
    with pytest.raises(NotFound, match="There is no endpoint") as refusal:
        await answered("GET", path)
    assert "GET /things, POST /things, GET /things/…" in refusal.value.message


@pytest.mark.parametrize(
    ("path", "meant"),
    [("/v1/v1/messages", "/v1/messages"), ("/v1/chat/completion", "/v1/chat/completions"), ("/v1/Cost", "/v1/cost")],
)
async def test_the_path_that_was_probably_meant_is_named(path: str, meant: str) -> None:
    """A base URL with /v1 where a client adds it, say."""
    paths = ("/v1/messages", "/v1/chat/completions", "/v1/cost")
    routes = EndpointRouter([Route("POST", each, adding, for_clients=True) for each in paths])
    with pytest.raises(NotFound) as refusal:
        routes.find(asked("POST", path))
    assert refusal.value.message.startswith(f"There is no endpoint {path}; did you mean {meant}? Available")


@pytest.mark.parametrize(
    ("path", "text"),
    [("/v1/list", "all"), ("/list", "all"), ("/list?x", "all"), ("/v1/list/a", "a"), ("/list/a", "a"), ("/own", "all")],
)
async def test_paths_are_served_also_without_their_version(path: str, text: str) -> None:
    """Many leave /v1 out of the base URL that they give their clients."""
    routes = EndpointRouter(
        [
            Route("GET", "/v1/list", listing, for_clients=True),
            NamedRoute("GET", "/v1/list/", one, for_clients=True),
            Route("GET", "/own", listing, for_clients=True),
        ]
    )
    request = asked("GET", path)
    response = await routes.find(request)(request)
    assert isinstance(response, web.Response)
    assert response.text == text


@pytest.mark.parametrize("path", ["/v1/own", "/v1", "/v1/v1/list", "/v2/list"])
async def test_no_other_version_is_served(path: str) -> None:
    routes = EndpointRouter(
        [Route("GET", "/v1/list", listing, for_clients=True), Route("GET", "/own", listing, for_clients=True)]
    )
    with pytest.raises(NotFound):
        routes.find(asked("GET", path))


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("DELETE", "/things", ["GET", "HEAD", "POST"]), ("POST", "/things/a", ["GET", "HEAD"])],
)
async def test_a_method_that_a_path_does_not_take_is_refused_with_those_it_does(
    method: str, path: str, allowed: list[str]
) -> None:
    with pytest.raises(MethodNotAllowed) as refusal:
        await answered(method, path)
    assert refusal.value.allowed == allowed
