"""What passes through unchanged, up and down, and the little that does not."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.effort import examples
from tests.support.harness import ProxyHarness, body, key_of
from tests.support.provider import (
    DONE,
    Asked,
    Part,
    byte_by_byte,
    completion,
    error_reply,
    head,
    json_reply,
    reply,
    sse_reply,
    stream_events,
    usage_chunk,
)

ODD = (
    b'{ "model":"gpt-4o",\t"unknown" : [1.0, 1e2, 12345678901234567890123, -0.0, "\\u00e9\\ud83d\\ude00", null, {} ],\n'
    b'"messages":[{"role":"user","content":"h\xc3\xa9\\n","extra":{"a":1, "a":2}}] , "temperature":0.10 }\r\n'
)
ANSWER = (
    b'{ "choices" : [{"message":{"content":"h\xc3\xa9 \\u00e9","refusal":null},"finish_reason":"stop","x":1.50}],\n'
    b'"usage": {"prompt_tokens":1,"completion_tokens":2,"z":[ ]}, "big":12345678901234567890123 }\n'
)
USAGE_WANTED = b'"stream_options":{"include_usage":true}'


# Up


async def test_the_clients_json_goes_up_byte_for_byte(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha")
    arbstr = await harness.start()
    assert (await arbstr.send(ODD)).status == 200
    assert alpha.requests[0].body == ODD
    assert (alpha.requests[0].method, alpha.requests[0].path) == ("POST", "/v1/chat/completions")


async def test_a_stream_that_asks_for_usage_goes_up_byte_for_byte(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", sse_reply(*stream_events("a")))
    arbstr = await harness.start()
    sent_body = ODD.replace(
        b'"temperature"', b'"stream":true,"stream_options":{"include_usage":true,"x":1},"temperature"'
    )
    assert (await arbstr.send(sent_body)).status == 200
    assert alpha.requests[0].body == sent_body


async def test_a_stream_that_does_not_is_made_to_and_nothing_else_changes(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", sse_reply(*stream_events("a")))
    arbstr = await harness.start()
    sent_body = ODD.replace(b'"temperature"', b'"stream":true,"temperature"')
    assert (await arbstr.send(sent_body)).status == 200
    sent = alpha.requests[0].body
    assert sent.replace(USAGE_WANTED + b",", b"", 1) == sent_body
    assert json.loads(sent)["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (None, {"include_usage": True}),
        ({}, {"include_usage": True}),
        ({"include_usage": False}, {"include_usage": True}),
        ({"include_usage": None, "x": [1]}, {"include_usage": True, "x": [1]}),
        ({"include_obfuscation": False}, {"include_obfuscation": False, "include_usage": True}),
    ],
)
async def test_other_stream_options_stay(harness: ProxyHarness, options: object, sent: object) -> None:
    alpha = await harness.add_provider("alpha", sse_reply(*stream_events("a")))
    arbstr = await harness.start()
    await arbstr.chat(stream=True, stream_options=options, seed=2**70, top_p=0.1)
    assert alpha.requests[0].json == {**body(), "stream": True, "stream_options": sent, "seed": 2**70, "top_p": 0.1}


async def test_what_is_no_stream_gets_no_stream_options(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha")
    arbstr = await harness.start()
    await arbstr.chat(stream=False)
    await arbstr.chat(stream=None)
    assert all("stream_options" not in asked.json for asked in alpha.requests)


async def test_half_a_surrogate_pair_is_not_a_reason_to_refuse(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha")
    arbstr = await harness.start()
    cut = json.dumps(body("\ud83d")).encode()
    assert (await arbstr.send(cut)).status == 200
    assert alpha.requests[0].body == cut


async def test_a_number_beyond_all_measure_does_not_become_one_that_json_lacks(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", sse_reply(*stream_events("a")))
    arbstr = await harness.start()
    sent_body = json.dumps({**body(), "stream": True, "stream_options": {}}).replace("{", '{"temperature": 1e400,', 1)
    answer = await arbstr.send(sent_body.encode())
    assert answer.refusal == (400, "invalid_request_error", "invalid_json")
    assert not alpha.requests


async def test_a_compressed_request_goes_up_plain(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha")
    arbstr = await harness.start()
    assert (await arbstr.send(gzip.compress(ODD), headers={"Content-Encoding": "gzip"})).status == 200
    assert alpha.requests[0].body == ODD
    assert "content-encoding" not in alpha.requests[0].headers


async def test_a_request_without_a_length_goes_up_with_one(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha")
    arbstr = await harness.start()

    async def parts() -> object:
        yield ODD[:50]
        yield ODD[50:]

    async with arbstr.session.post(
        arbstr.url + "/v1/chat/completions", data=parts(), headers={"Content-Type": "application/json"}
    ) as response:
        assert response.status == 200
    assert alpha.requests[0].body == ODD
    assert alpha.requests[0].headers["content-length"] == str(len(ODD))


NOT_UP = {
    "Authorization": "Bearer clients-own-token",
    "Cookie": "session=clients-own-cookie",
    "Connection": "keep-alive, X-Only-Here",
    "Keep-Alive": "timeout=5",
    "Proxy-Authorization": "Basic Y2xpZW50",
    "Proxy-Connection": "keep-alive",
    "TE": "trailers",
    "Upgrade": "h2c",
    "Via": "1.1 somewhere",
    "Forwarded": "for=10.0.0.1",
    "X-Forwarded-For": "10.0.0.1",
    "X-Real-IP": "10.0.0.1",
    "X-Api-Key": "clients-own-key",
    "Api-Key": "clients-own-key",
    "X-Cashu": "cashuAtoken",
    "X-Arbstr-Policy": "",
    "Expect": "100-continue",
    "Referer": "http://127.0.0.1/",
    "Accept-Encoding": "gzip, br",
    "User-Agent": "clients-own/1",
    "X-Goog-Api-Key": "clients-own-key",
    "X-OpenWebUI-User-Email": "clients-own@example.com",
    "CF-Access-Client-Secret": "clients-own-secret",
    "X-Codex-Turn-Metadata": "{}",
    "OpenAI-Organization": "clients-own",
    "X-Stainless-Lang": "python",
    "X-Whatever": "1",
}


@pytest.mark.parametrize("name", NOT_UP)
async def test_credentials_and_what_is_between_hops_never_go_up(harness: ProxyHarness, name: str) -> None:
    alpha = await harness.add_provider("alpha")
    arbstr = await harness.start()
    assert (await arbstr.chat(headers={name: NOT_UP[name]})).status == 200
    headers = alpha.requests[0].headers
    if name == "Authorization":
        assert headers["authorization"] == f"Bearer {key_of('alpha')}"
    elif name == "Accept-Encoding":
        assert headers["accept-encoding"] == "identity"
    elif name == "User-Agent":
        assert headers["user-agent"].startswith("arbstr/")
    else:
        assert name.lower() not in headers
    assert not any("clients-own" in value for value in headers.values())


async def test_without_a_key_no_authorization_goes_up(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", api_key=None)
    arbstr = await harness.start()
    await arbstr.chat(headers={"Authorization": "Bearer clients-own-token"})
    assert "authorization" not in alpha.requests[0].headers


GO_UP = {
    "Accept": "application/json",
    "Content-Type": "application/json; charset=utf-8",
    "anthropic-version": "2023-06-01",
    "Anthropic-Beta": "a,b",
    "OpenAI-Beta": "x",
}


async def test_what_a_provider_needs_to_understand_the_request_goes_up(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha")
    arbstr = await harness.start()
    await arbstr.chat(headers=GO_UP)
    headers = alpha.requests[0].headers
    assert {name: headers[name.lower()] for name in GO_UP} == GO_UP
    assert headers["host"] == alpha.url.removeprefix("http://").removesuffix("/v1")
    names = {name.lower() for name in GO_UP}
    own = {"host", "content-length", "accept-encoding", "authorization", "user-agent"}
    assert set(headers) == names | own
    assert len(alpha.requests[0].raw_headers) == len(headers)  # each once


async def test_without_them_arbstr_says_what_it_sends_and_takes(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha")
    arbstr = await harness.start()
    await arbstr.chat()
    headers = alpha.requests[0].headers
    assert (headers["accept"], headers["content-type"]) == ("*/*", "application/json")


async def test_forward_headers_go_to_the_provider_that_names_them_alone(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", error_reply(401), forward_headers=("X-Title", "user-agent"))
    beta = await harness.add_provider("beta")
    arbstr = await harness.start()
    await arbstr.chat(headers={"x-title": "Grüße", "User-Agent": "mine/1", "X-Other": "1"})
    headers = alpha.requests[0].headers
    assert headers["x-title"].encode("latin-1").decode() == "Grüße"
    assert headers["user-agent"] == "mine/1"
    assert "x-other" not in headers
    assert not {"x-title", "x-other"} & set(beta.requests[0].headers)


async def test_a_forward_header_named_in_connection_is_not_forwarded(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", forward_headers=("X-Title", "X-Only-Here"))
    arbstr = await harness.start()
    named = {"Connection": "keep-alive, X-Only-Here", "X-Only-Here": "1", "X-Title": "1"}
    await arbstr.chat(headers=named)
    assert "x-title" in alpha.requests[0].headers
    assert "x-only-here" not in alpha.requests[0].headers


async def test_every_request_goes_up_with_its_own_headers_and_body_to_its_own_provider(harness: ProxyHarness) -> None:
    """What requests have in common is made once: more clients than are remembered, who come again."""
    forward = ("X-Trace", "X-Only-Of")
    alpha = await harness.add_provider("alpha", models=("gpt-4o",), forward_headers=forward)
    beta = await harness.add_provider("beta", models=("llama",), forward_headers=forward)
    arbstr = await harness.start()
    asked = [(trace, provider) for trace in [*range(300), 0, 0, 1] for provider in ("gpt-4o", "llama")]
    for trace, model in asked:
        headers = {"X-Trace": str(trace), "X-Only-Of": f"{model}-{trace}"}
        await arbstr.chat(model=model, seed=trace, headers=headers)
    for provider, key, model in ((alpha, key_of("alpha"), "gpt-4o"), (beta, key_of("beta"), "llama")):
        seen = [
            (
                request.headers["x-trace"],
                request.headers["x-only-of"],
                request.headers["authorization"],
                request.headers["host"],
                int(request.headers["content-length"]) == len(request.body),
                json.loads(request.body)["seed"],
            )
            for request in provider.requests
        ]
        host = provider.url.removeprefix("http://").removesuffix("/v1")
        assert seen == [
            (str(trace), f"{model}-{trace}", f"Bearer {key}", host, True, trace)
            for trace, asked_model in asked
            if asked_model == model
        ]


# Down


async def test_the_providers_json_comes_down_byte_for_byte(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", reply(ANSWER))
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert (answer.status, answer.body) == (200, ANSWER)
    assert answer.headers["Content-Type"] == "application/json"


async def test_the_providers_headers_come_down_but_for_those_between_hops(harness: ProxyHarness) -> None:
    stays = [("X-Request-Id", "r1"), ("x-ratelimit-remaining-requests", "9"), ("OpenAI-Processing-Ms", "12")]
    goes = [
        ("Set-Cookie", "a=b"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Authenticate", "Basic"),
        ("Alt-Svc", "h3"),
        ("Access-Control-Allow-Origin", "*"),
        ("X-Accel-Redirect", "/private/arbstr.db"),
        ("X-Sendfile", "/etc/passwd"),
        ("Refresh", "0;url=https://example.com"),
        ("Clear-Site-Data", "*"),
        ("X-Arbstr-Provider", "liar"),
        ("X-Arbstr-Cost-Sats", "0.001"),
        ("X-Arbstr-Request-Id", "liar"),
        ("Date", "Mon, 23 Nov 2026 22:25:07 GMT"),
        ("Date", "Mon, 23 Nov 2026 22:25:07 GMT"),
    ]
    await harness.add_provider("alpha", json_reply(completion(), headers=[*stays, *goes]))
    arbstr = await harness.start()
    answer = await arbstr.chat()
    for name, value in stays:
        assert answer.headers.getall(name) == [value]
    for name, _ in goes:
        if name != "Date" and not name.startswith("X-Arbstr-"):
            assert name not in answer.headers
    for name in ("X-Arbstr-Provider", "X-Arbstr-Cost-Sats", "X-Arbstr-Request-Id", "Date"):
        (value,) = answer.headers.getall(name)
        assert value not in ("liar", "0.001")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("\x01\x1b[2J\x7f", "\ufffd\ufffd[2J\ufffd"),
        ("a\tb", "a\ufffdb"),
        ("caf\u00e9", "caf\u00e9"),
        ("", ""),
    ],
)
async def test_odd_bytes_in_a_header_harm_nobody(harness: ProxyHarness, value: str, shown: str, stream: bool) -> None:
    odd = [("X-Odd", value)]
    replied = sse_reply(*stream_events("a"), headers=odd) if stream else json_reply(completion(), headers=odd)
    await harness.add_provider("alpha", replied)
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=stream)
    assert answer.status == 200
    assert answer.headers["X-Odd"] == shown


async def test_a_header_that_clients_can_not_read_is_left_out_and_the_answer_passes(harness: ProxyHarness) -> None:
    """Many refuse an answer with a header of more than 8 KB."""
    await harness.add_provider("alpha", json_reply(completion(), X_Long="x" * 60_000, X_Short="x" * 4_000))
    answer = await (await harness.start()).chat()
    assert answer.json == completion()
    assert "X-Long" not in answer.headers
    assert answer.headers["X-Short"] == "x" * 4_000


@pytest.mark.parametrize(
    "content_type", ["application/json", None, "text/plain", "text/html; charset=utf-8", "nonsense"]
)
async def test_a_completion_is_labelled_as_json_whatever_it_was(
    harness: ProxyHarness, content_type: str | None
) -> None:
    await harness.add_provider("alpha", reply(ANSWER, content_type=content_type))
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert (answer.status, answer.body) == (200, ANSWER)
    assert answer.headers["Content-Type"].startswith("application/json")


async def test_a_compressed_answer_comes_down_plain(harness: ProxyHarness) -> None:
    """Nobody asked for one."""
    await harness.add_provider("alpha", reply(gzip.compress(ANSWER), headers=[("Content-Encoding", "gzip")]))
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert (answer.status, answer.body) == (200, ANSWER)
    assert "Content-Encoding" not in answer.headers


FRAMINGS: dict[str, list[Part]] = {
    "in chunks": [
        head(200, ("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")),
        b"%x\r\n%b\r\n" % (10, ANSWER[:10]),
        b"%x;ext=1\r\n%b\r\n" % (len(ANSWER) - 10, ANSWER[10:]),
        b"0\r\nX-Trailer: 1\r\n\r\n",
    ],
    "byte by byte": [*reply(ANSWER)[:1], *(ANSWER[at : at + 1] for at in range(len(ANSWER)))],
    "after interim answers": [head(100), head("103 Early Hints", ("Link", "</x>")), *reply(ANSWER)],
    "in HTTP/1.0": [b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)],
}


@pytest.mark.parametrize("framed", FRAMINGS.values(), ids=FRAMINGS)
async def test_however_it_is_framed(harness: ProxyHarness, framed: list[Part]) -> None:
    await harness.add_provider("alpha", framed)
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert (answer.status, answer.body) == (200, ANSWER)


async def test_a_json_answer_to_a_stream_passes_as_json(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", reply(ANSWER), input_rate=1000, output_rate=1000, base_fee=0)
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=True)
    assert (answer.status, answer.body) == (200, ANSWER)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Arbstr-Cost-Sats"] == "3.000"
    assert "X-Arbstr-Latency-Ms" in answer.headers
    row = await arbstr.row(answer)
    assert row["success"]
    assert row["streaming"]
    assert row["cost"]["sats"] == 3.0


@pytest.mark.parametrize(
    "text", [ANSWER, b"\xef\xbb\xbf" + ANSWER, b"\n\n " + ANSWER], ids=["plain", "with a mark", "after white space"]
)
@pytest.mark.parametrize("content_type", ["text/event-stream", "text/event-stream; charset=utf-8", "text/plain", None])
async def test_json_is_read_as_json_whatever_its_label(
    harness: ProxyHarness, text: bytes, content_type: str | None
) -> None:
    await harness.add_provider("alpha", reply(text, content_type=content_type))
    arbstr = await harness.start()
    for stream in (False, True):
        answer = await arbstr.chat(stream=stream)
        assert (answer.status, answer.body) == (200, text)
        assert answer.headers["Content-Type"] == "application/json"
        assert "X-Arbstr-Retries" not in answer.headers
        assert (await arbstr.row(answer))["tokens"]["output"] == 2


@pytest.mark.parametrize("begins", [b"", b"\xef\xbb\xbf", b"\n", b": hi\n\n", b"event: message\n", b"id: 1\r\n"])
@pytest.mark.parametrize("content_type", ["application/json", "text/html", None])
@pytest.mark.parametrize("cut", [True, False], ids=["byte by byte", "whole"])
async def test_a_stream_is_read_as_one_whatever_its_label(
    harness: ProxyHarness, begins: bytes, content_type: str | None, cut: bool
) -> None:
    events = stream_events("a", tokens=None, done=False)
    text = begins + b"".join(events)
    parts = byte_by_byte(text) if cut else [text]
    await harness.add_provider("alpha", sse_reply(*parts, usage_chunk(10, 5), DONE, content_type=content_type))
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=True)
    assert answer.provider_events == text + DONE
    assert answer.trailer["output_tokens"] == 5
    assert answer.headers["Content-Type"].startswith("text/event-stream")


async def test_an_event_stream_nobody_asked_for_is_no_answer(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", sse_reply(*stream_events("a")))
    await harness.add_provider("beta")
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert answer.headers["X-Arbstr-Retries"] == "1/alpha"
    assert answer.json == completion("Hello")


# A field that only arbstr has added

REFUSALS: dict[str, list[Part]] = {
    "FastAPI": json_reply(
        {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs"}]}, status=422
    ),
    "OpenAI": error_reply(400, "Unrecognized request argument supplied: stream_options"),
    "by param": json_reply(
        {"error": {"message": "Unknown parameter", "param": "stream_options.include_usage"}}, status=400
    ),
    "Go": reply(b'json: unknown field "stream_options"', status=400, content_type="text/plain"),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("options", [{}, {"include_usage": False}])
async def test_a_field_that_only_arbstr_added_is_left_out_where_it_is_refused(
    harness: ProxyHarness, refusal: list[Part], options: dict[str, bool]
) -> None:
    fields: dict[str, Any] = {"stream_options": options} if options else {}
    alpha = await harness.add_provider("alpha", refusal, sse_reply(*stream_events("a")))
    arbstr = await harness.start()
    for requests in (2, 3):  # it is remembered
        answer = await arbstr.chat(stream=True, **fields)
        assert answer.trailer["output_tokens"] == 5
        assert "X-Arbstr-Retries" not in answer.headers
        assert len(alpha.requests) == requests
        assert alpha.requests[-1].json == {**body(), "stream": True, **fields}


async def test_stream_options_are_sent_again_to_a_provider_that_refuses_requests_without_them_too(
    harness: ProxyHarness,
) -> None:
    """A refusal may quote the whole request."""
    no = error_reply(400, '{"stream_options": {"include_usage": true}}: no')
    alpha = await harness.add_provider("alpha", no, error_reply(400, "still no"), sse_reply(*stream_events("a")))
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=True)
    assert (answer.status, answer.error["message"]) == (400, "still no")
    await arbstr.chat(stream=True)
    assert "stream_options" in alpha.requests[2].json


@pytest.mark.parametrize("fields", [{"stream": False}, {"stream": True, "stream_options": {"include_usage": True}}])
async def test_a_field_of_the_clients_own_is_not_left_out(harness: ProxyHarness, fields: dict[str, Any]) -> None:
    alpha = await harness.add_provider("alpha", error_reply(400, "Unknown parameter: stream_options"))
    arbstr = await harness.start()
    assert (await arbstr.chat(**fields)).status == 400
    assert len(alpha.requests) == 1


# Whatever the document

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


async def test_any_fields_pass_both_ways(harness: ProxyHarness) -> None:
    """One arbstr for all examples: hypothesis draws them, the loop is this test's."""
    bodies: list[bytes] = []

    def echoes(asked: Asked) -> list[Part]:
        bodies.append(asked.body)
        return reply(asked.body)

    await harness.add_provider("alpha", echoes)
    arbstr = await harness.start()
    drawn: list[dict[str, object]] = []

    @settings(max_examples=examples(30), database=None, suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(st.text(min_size=1), JSON, max_size=5))
    def draw(fields: dict[str, object]) -> None:
        drawn.append(fields)

    draw()
    checked = {
        "object",
        "success",
        "errors",
        "type",
        "model",
        "messages",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "n",
        "error",
        "choices",
        "usage",
    }
    for fields in drawn:
        document = json.dumps(
            {**{k: v for k, v in fields.items() if k not in checked}, **body(), **completion()}
        ).encode()
        answer = await arbstr.send(document)
        assert (answer.status, answer.body) == (200, document)
        assert bodies.pop() == document


async def test_a_stream_comes_down_byte_for_byte(harness: ProxyHarness) -> None:
    text = b"".join(stream_events("h\u00e9", "\U0001f600", tokens=None, done=False))
    await harness.add_provider("alpha", sse_reply(text, DONE, headers=[("X-Request-Id", "r1")]))
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=True)
    assert answer.provider_events == text + DONE
    assert answer.headers["X-Request-Id"] == "r1"
    assert answer.headers["Content-Type"].startswith("text/event-stream")
