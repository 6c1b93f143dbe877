"""Keys never come out: not in answers, rows, logs or endpoints, whatever a provider does with them."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from arbstr.engine.routing.router import Router
from tests.support.harness import ProxyHarness, key_of
from tests.support.provider import (
    Asked,
    Move,
    Part,
    Script,
    byte_by_byte,
    chunk,
    completion,
    error_reply,
    event,
    head,
    json_reply,
    reply,
    sse_reply,
    stream_events,
)

KEY = key_of("alpha")
TOKEN = "clients-token-0123456789"


def said_again(asked: Asked) -> str:
    """What a careless provider quotes: the key as it was sent."""
    return asked.headers["authorization"].removeprefix("Bearer ")


def in_an_error(status: int) -> Script:
    def replies(asked: Asked) -> list[Part]:
        return error_reply(status, f"Incorrect API key provided: {said_again(asked)}.", X_Echo=said_again(asked))

    return replies


def escaped(asked: Asked) -> list[Part]:
    text = "".join(f"\\u{ord(letter):04x}" for letter in said_again(asked))
    return reply(b'{"error": {"message": "%b"}}' % text.encode(), status=500)


def in_html(asked: Asked) -> list[Part]:
    return reply(f"<p>{said_again(asked)}</p>".encode(), status=422, content_type="text/html")


def in_a_redirect(asked: Asked) -> list[Part]:
    return error_reply(302, Location=f"https://elsewhere.test/?key={said_again(asked)}")


def in_a_header(asked: Asked) -> list[Part]:
    return json_reply(completion(), X_Echo=f"Bearer {said_again(asked)}")


def in_a_first_event(asked: Asked) -> list[Part]:
    return sse_reply(event({"error": {"message": said_again(asked)}}))


def in_no_http(asked: Asked) -> list[Part]:
    return [f"HTTP/1.1 {said_again(asked)} {said_again(asked)}\r\n\r\n".encode(), Move.CLOSE]


def in_a_bad_header(asked: Asked) -> list[Part]:
    return [head(200)[:-2] + f"X Bad\x00: {said_again(asked)}\r\n\r\n".encode(), Move.CLOSE]


def in_a_bad_chunk(asked: Asked) -> list[Part]:
    return [head(200, ("Transfer-Encoding", "chunked")), f"{said_again(asked)}\r\n".encode(), Move.CLOSE]


def in_a_later_event(asked: Asked) -> list[Part]:
    return sse_reply(chunk("a"), event({"error": {"message": said_again(asked)}}))


def in_a_named_event(asked: Asked) -> list[Part]:
    text = chunk("a") + f"event: error\ndata: {said_again(asked)}\n\n".encode()
    return sse_reply(*byte_by_byte(text))


def in_a_comment(asked: Asked) -> list[Part]:
    return sse_reply(chunk("a"), f": for {said_again(asked)}\n\n".encode(), *stream_events("b"))


def in_an_event_of_another_kind(asked: Asked) -> list[Part]:
    return sse_reply(chunk("a"), event({"detail": said_again(asked)}), *stream_events("b"))


def beside_choices(asked: Asked) -> list[Part]:
    return json_reply({**completion(), "error": {"message": said_again(asked)}})


def in_an_answer_without_choices(asked: Asked) -> list[Part]:
    return json_reply({"detail": said_again(asked)})


def beside_choices_in_a_field(asked: Asked) -> list[Part]:
    return json_reply({**completion(), "x_debug": {"authorization": f"Bearer {said_again(asked)}"}})


def with_one_escape(asked: Asked) -> list[Part]:
    key = said_again(asked).replace("-", "\\u002d", 1)
    return reply(json.dumps({**completion(), "x_debug": "KEY"}).replace("KEY", key).encode())


def in_a_chunk(asked: Asked) -> list[Part]:
    field = f',"x_debug":"{said_again(asked)}"'.encode()
    return sse_reply(chunk("a").replace(b"}\n\n", field + b"}\n\n"), *stream_events("b"))


def in_a_long_chunk(asked: Asked) -> list[Part]:
    field = f',"x_debug":"{said_again(asked)}"'.encode()
    return sse_reply(*in_pieces(chunk("a" * 100_000).replace(b"}\n\n", field + b"}\n\n")), *stream_events("b"))


def in_a_long_error(asked: Asked) -> list[Part]:
    long = event({"error": {"message": "x" * 70_000 + said_again(asked) + "x" * 70_000}})
    return sse_reply(chunk("a"), *in_pieces(long))


def in_a_calls_id(asked: Asked) -> list[Part]:
    call = {"id": said_again(asked), "type": "function", "function": {"name": "f", "arguments": "{}"}}
    return json_reply(completion(None, message={"tool_calls": [call]}, finish_reason="tool_calls"))


def in_a_calls_id_of_a_stream(asked: Asked) -> list[Part]:
    call = {"index": 0, "id": said_again(asked), "type": "function", "function": {"name": "f", "arguments": "{}"}}
    return sse_reply(chunk(delta={"tool_calls": [call]}), *stream_events("b"))


def in_pieces(data: bytes) -> list[bytes]:
    """Cut so that pieces end within a key, wherever it stands."""
    return [data[start : start + 13] if start > 60_000 else data[start : start + 60_000] for start in places(len(data))]


def places(size: int) -> list[int]:
    return [0, *range(60_000, size, 13)] if size > 60_000 else [0]


def in_a_headers_name(asked: Asked) -> list[Part]:
    return json_reply(completion(), headers=[(said_again(asked), "x"), (f"X-{said_again(asked)}", "y")])


CARELESS = {
    **{f"a {status}": in_an_error(status) for status in (400, 401, 402, 403, 404, 422, 429, 500, 503)},
    "escapes": escaped,
    "HTML": in_html,
    "a redirect": in_a_redirect,
    "a header": in_a_header,
    "a first event": in_a_first_event,
    "a later event": in_a_later_event,
    "a named event": in_a_named_event,
    "a comment": in_a_comment,
    "an event of another kind": in_an_event_of_another_kind,
    "an error beside choices": beside_choices,
    "an answer without choices": in_an_answer_without_choices,
    "a field beside choices": beside_choices_in_a_field,
    "one escape": with_one_escape,
    "a chunk": in_a_chunk,
    "a long chunk": in_a_long_chunk,
    "a long error": in_a_long_error,
    "a header's name": in_a_headers_name,
    "a tool call's id": in_a_calls_id,
    "a tool call's id in a stream": in_a_calls_id_of_a_stream,
    "what is no HTTP": in_no_http,
    "a bad header": in_a_bad_header,
    "a bad chunk": in_a_bad_chunk,
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("careless", CARELESS.values(), ids=CARELESS)
async def test_a_key_that_a_provider_quotes_goes_no_further(
    harness: ProxyHarness, tmp_path: Path, careless: Script, stream: bool
) -> None:
    await harness.add_provider("alpha", careless)
    arbstr = await harness.start(server={"auth_token": TOKEN})
    answer = await arbstr.chat(stream=stream, headers={"Authorization": f"Bearer {TOKEN}"})
    await arbstr.finished()
    authorized = {"Authorization": f"Bearer {TOKEN}"}
    row = await arbstr.get(f"/v1/requests/{answer.headers['X-Arbstr-Request-Id']}", headers=authorized)
    shown = [
        str(answer.headers),
        answer.body.decode(),
        row.body.decode(),
        arbstr.log,
        repr(arbstr.events),
        repr(arbstr.source.snapshot()),
        *[
            (await arbstr.get(path, headers=authorized)).body.decode()
            for path in ("/providers", "/health", "/v1/models")
        ],
    ]
    for text in shown:
        assert KEY not in text
        assert TOKEN not in text
        assert KEY not in json.dumps(text).encode().decode("unicode_escape")
    await harness.close()
    assert_not_on_disk(tmp_path, KEY, TOKEN)


def assert_not_on_disk(directory: Path, *secrets: str) -> None:
    files = [file for file in directory.rglob("*") if file.is_file()]
    assert files
    for file in files:
        data = file.read_bytes()
        assert not any(secret.encode() in data for secret in secrets), file


async def test_a_key_is_shown_masked_where_it_is_shown(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", in_an_error(422))
    await harness.add_provider("beta", api_key="short", models=("other",))
    await harness.add_provider("gamma", api_key=None, models=("other",))
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert answer.error["message"] == "Incorrect API key provided: sk-alp...***."
    assert answer.headers["X-Echo"] == "sk-alp...***"
    listed = (await arbstr.get("/providers")).json["providers"]
    assert [provider["api_key"] for provider in listed] == ["sk-alp...***", "[REDACTED]", None]


async def test_an_error_that_quotes_another_providers_key_is_masked(harness: ProxyHarness) -> None:
    """Two providers may belong to one operator, or a proxy before them may mix answers up."""
    await harness.add_provider("alpha", error_reply(422, f"the key {key_of('beta')} is wrong"))
    await harness.add_provider("beta", models=("other",))
    arbstr = await harness.start()
    assert (await arbstr.chat()).error["message"] == "the key sk-bet...*** is wrong"


async def test_an_internal_error_shows_no_key(harness: ProxyHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(self: Router, request: object, client: object) -> None:
        raise RuntimeError(f"with {KEY} in hand")

    monkeypatch.setattr(Router, "route", stumble)
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert answer.status == 500
    assert KEY not in answer.body.decode() + arbstr.log
    assert "sk-alp...*** in hand" in arbstr.log


async def test_prompts_and_answers_are_neither_stored_nor_logged(harness: ProxyHarness, tmp_path: Path) -> None:
    await harness.add_provider(
        "alpha", json_reply(completion("what-it-answered")), sse_reply(*stream_events("what-it-answered"))
    )
    arbstr = await harness.start()
    await arbstr.chat("what-i-asked")
    await arbstr.chat("what-i-asked", stream=True)
    await arbstr.finished(2)
    assert "what-i" not in arbstr.log + repr(arbstr.events)
    await harness.close()
    with sqlite3.connect(tmp_path / "arbstr.db") as database:
        assert database.execute("SELECT count(*) FROM requests").fetchone() == (2,)
    database.close()
    assert_not_on_disk(tmp_path, "what-i-asked", "what-it-answered")


PROMPT = "Tell nobody that the Eagle landed at Löwenstraße 7,\nnor of hunter2-Zx91."


def quoting(asked: Asked) -> str:
    """What a provider says that quotes the request, in part and in capitals too."""
    text = asked.json["messages"][0]["content"]
    return f"Your prompt {text!r} is bad ({text.upper()[:40]}), so is 'hunter2-Zx91'"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    "quotes",
    [
        lambda asked: error_reply(400, quoting(asked)),
        lambda asked: reply(json.dumps({"message": quoting(asked)}).encode(), status=422),
        lambda asked: reply(json.dumps({"detail": [{"msg": quoting(asked)}]}).encode(), status=422),
        lambda asked: error_reply(500, quoting(asked)),
        lambda asked: json_reply({"error": {"message": quoting(asked)}}),
        lambda asked: sse_reply(event({"error": {"message": quoting(asked)}})),
        lambda asked: sse_reply(chunk("a"), event({"error": {"message": quoting(asked)}})),
    ],
    ids=["400", "flat", "detail", "500", "a 200", "an event", "a later event"],
)
async def test_nothing_of_a_request_is_stored_or_logged_out_of_an_error(
    harness: ProxyHarness, tmp_path: Path, quotes: Script, stream: bool
) -> None:
    await harness.add_provider("alpha", quotes)
    arbstr = await harness.start()
    answer = await arbstr.chat(PROMPT, stream=stream)
    await arbstr.rows(1)
    if answer.status in (400, 422):
        assert "Eagle" in answer.body.decode()  # its client may see what the provider says
    shown = [
        arbstr.log,
        repr(arbstr.events),
        repr(arbstr.source.snapshot()),
        *[(await arbstr.get(path)).body.decode() for path in ("/providers", "/health", "/v1/requests")],
        (await arbstr.get(f"/v1/requests/{answer.headers['X-Arbstr-Request-Id']}")).body.decode(),
    ]
    for text in shown:
        for word in ("eagle", "nobody", "wenstra", "hunter2"):
            assert word not in text.casefold()
    assert "is bad" in shown[-1] or not stream  # events are no answer to who asked for none
    await harness.close()
    assert_not_on_disk(tmp_path, "Eagle", "EAGLE", "nobody", "hunter2")
