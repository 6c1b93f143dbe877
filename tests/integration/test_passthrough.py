"""Endpoints that arbstr passes through: any body, any answer, metered where the answer says what it cost."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.support.harness import Answer, Arbstr, ProxyHarness, key_of, tokens_of
from tests.support.provider import Move, error_reply, event, json_reply, reply, sse_reply

IMAGE = {"created": 1, "data": [{"b64_json": "aGVsbG8="}]}
AUDIO = b"ID3\x04\x00\xff\xfb\x90d" + bytes(range(256)) * 50
FORM = (
    b'--b0und\r\nContent-Disposition: form-data; name="file"; filename="model.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    + AUDIO
    + b'\r\n--b0und\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b0und--\r\n'
)
FORM_TYPE = {"Content-Type": "multipart/form-data; boundary=b0und"}


async def post(arbstr: Arbstr, path: str, body: Any, *, headers: dict[str, str] | None = None) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await arbstr.send(data, headers=headers, path=path)


async def test_a_request_and_its_answer_pass_byte_for_byte(harness: ProxyHarness) -> None:
    raw = json.dumps(IMAGE, indent=2).encode()
    alpha = await harness.add_provider("alpha", reply(raw), models=("gpt-image-1",), base_fee=1)
    arbstr = await harness.start()
    sent = b'{ "model":"gpt-image-1", "prompt" : "a cat", "n":1.0 }'
    answer = await post(arbstr, "/v1/images/generations", sent)
    assert (answer.status, answer.body) == (200, raw)
    assert (alpha.requests[0].path, alpha.requests[0].body) == ("/v1/images/generations", sent)
    row = await arbstr.row(answer)
    assert (row["dialect"], row["model"], row["success"]) == ("images/generations", "gpt-image-1", True)
    assert (tokens_of(row), row["cost"]["sats"]) == ((None, None), 1.0)


async def test_what_stands_behind_the_path_passes_too(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", json_reply(IMAGE), models=())
    arbstr = await harness.start()
    assert (await post(arbstr, "/v1/images/edits?size=a%20b&size=c%26d&e=", {"prompt": "a cat"})).status == 200
    assert alpha.requests[0].path == "/v1/images/edits?size=a+b&size=c%26d&e="


async def test_without_a_base_fee_the_cost_is_unknown(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", json_reply(IMAGE), models=(), base_fee=0)
    arbstr = await harness.start()
    answer = await post(arbstr, "/v1/images/generations", {"prompt": "a cat"})
    assert "X-Arbstr-Cost-Sats" not in answer.headers
    assert (await arbstr.row(answer))["cost"]["sats"] is None


async def test_a_refusal_costs_no_fee(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", error_reply(400, "no such size"), models=(), base_fee=1)
    arbstr = await harness.start()
    answer = await post(arbstr, "/v1/images/generations", {"prompt": "a cat"})
    assert answer.status == 400
    assert (await arbstr.row(answer))["cost"]["sats"] is None


@pytest.mark.parametrize(
    ("says", "tokens", "sats"),
    [
        ({"usage": {"input_tokens": 50, "output_tokens": 1000, "total_tokens": 1050}}, (50, 1000), 1 + 30.5),
        ({"usage": {"total_tokens": 50}}, (50, 0), 1 + 0.5),
        ({"usage": {"type": "duration", "seconds": 3}}, (None, None), 1.0),
        ({"cost": {"total_msats": 4200}}, (None, None), 4.2),
    ],
)
async def test_what_the_answer_says_is_metered(
    harness: ProxyHarness, says: dict[str, Any], tokens: tuple[int, int], sats: float
) -> None:
    await harness.add_provider("alpha", json_reply(IMAGE | says), models=(), input_rate=10, output_rate=30, base_fee=1)
    arbstr = await harness.start()
    row = await arbstr.row(await post(arbstr, "/v1/images/generations", {"model": "m", "prompt": "a cat"}))
    assert tokens_of(row) == tokens
    assert row["cost"]["sats"] == pytest.approx(sats)


async def test_a_form_passes_byte_for_byte_and_its_model_is_known(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", json_reply({"text": "hi"}), models=("whisper-1",))
    await harness.add_provider("beta", json_reply({"text": "hi"}), models=("gpt-4o",), input_rate=1)
    arbstr = await harness.start()
    answer = await post(arbstr, "/v1/audio/transcriptions", FORM, headers=FORM_TYPE)
    assert answer.json == {"text": "hi"}
    assert alpha.requests[0].body == FORM
    assert alpha.requests[0].headers["content-type"] == FORM_TYPE["Content-Type"]
    assert (await arbstr.row(answer))["model"] == "whisper-1"


async def test_a_model_in_a_form_is_called_as_its_provider_calls_it(harness: ProxyHarness) -> None:
    models = ({"id": "whisper-1", "upstream_id": "openai/whisper"},)
    alpha = await harness.add_provider("alpha", json_reply({"text": "hi"}), models=models)
    arbstr = await harness.start()
    assert (await post(arbstr, "/v1/audio/transcriptions", FORM, headers=FORM_TYPE)).status == 200
    assert alpha.requests[0].body == FORM.replace(b"\r\nwhisper-1\r\n", b"\r\nopenai/whisper\r\n")


async def test_sound_passes_untouched(harness: ProxyHarness) -> None:
    sound = AUDIO + key_of("alpha").encode()  # where no text is expected nothing is masked
    await harness.add_provider("alpha", reply(sound, content_type="audio/mpeg"), models=("tts-1",))
    arbstr = await harness.start()
    answer = await post(arbstr, "/v1/audio/speech", {"model": "tts-1", "input": "hello"})
    assert (answer.body, answer.headers["Content-Type"]) == (sound, "audio/mpeg")
    assert (await arbstr.row(answer))["success"]


async def test_a_text_is_masked(harness: ProxyHarness) -> None:
    text = b"1\n00:00 --> 00:01\n" + key_of("alpha").encode()
    await harness.add_provider("alpha", reply(text, content_type="text/plain"), models=())
    arbstr = await harness.start()
    answer = await post(arbstr, "/v1/audio/transcriptions", FORM, headers=FORM_TYPE)
    assert answer.body.startswith(b"1\n00:00 --> 00:01\n")
    assert key_of("alpha").encode() not in answer.body


async def test_a_stream_passes_untouched(harness: ProxyHarness) -> None:
    usage = {"input_tokens": 12, "output_tokens": 7, "total_tokens": 19}
    events = [
        event({"type": "transcript.text.delta", "delta": "Hello"}),
        event({"type": "transcript.text.done", "text": "Hello", "usage": usage}),
    ]
    await harness.add_provider("alpha", sse_reply(*events), models=("gpt-4o-transcribe",))
    arbstr = await harness.start()
    answer = await post(arbstr, "/v1/audio/transcriptions", {"model": "gpt-4o-transcribe", "stream": True})
    assert answer.body == b"".join(events)
    row = await arbstr.row(answer)
    assert (row["success"], tokens_of(row)) == (True, (12, 7))


async def test_a_stream_that_is_cut_off_says_so(harness: ProxyHarness) -> None:
    begun = event({"type": "transcript.text.delta", "delta": "Hello"})
    await harness.add_provider("alpha", sse_reply(begun, Move.RESET), models=())
    arbstr = await harness.start()
    answer = await post(arbstr, "/v1/audio/transcriptions", {"stream": True})
    assert answer.body.startswith(begun)
    assert json.loads(answer.events[-1].removeprefix(b"data: "))["error"]["code"] == "bad_upstream_response"
    row = await arbstr.row(answer)
    assert (row["success"], row["error"]["status"]) == (False, 502)


async def test_a_client_that_leaves_pays_the_fee_of_what_is_drained(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    raw = json.dumps(IMAGE).encode()
    alpha = await harness.add_provider("alpha", [*reply(raw)[:1], raw[:5], go_on, raw[5:]], models=(), base_fee=1)
    arbstr = await harness.start()
    task = asyncio.create_task(post(arbstr, "/v1/images/generations", {"prompt": "a cat"}))
    await alpha.asked()
    task.cancel()
    await asyncio.wait([task])
    await arbstr.catch_up()
    go_on.set()
    row = await arbstr.row()
    assert (row["success"], row["error"]["status"], row["cost"]["sats"]) == (False, 499, 1.0)


async def test_a_missing_model_is_no_error_and_goes_to_every_provider_of_its_kind(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", error_reply(404), kind="routstr", input_rate=1)
    await harness.add_provider("beta", error_reply(500), input_rate=2)
    await harness.add_provider("gamma", json_reply({"results": []}), input_rate=3)
    arbstr = await harness.start()
    answer = await post(arbstr, "/v1/moderations", {"input": "hello"})
    assert (answer.status, answer.json) == (200, {"results": []})
    assert answer.headers["X-Arbstr-Retries"] == "3/beta"
    row = await arbstr.row(answer)
    assert (row["model"], row["dialect"], row["provider"]) == ("", "moderations", "gamma")


async def test_what_nobody_serves_is_called_by_its_path_where_no_model_is_named(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", error_reply(404))
    arbstr = await harness.start()
    answer = await post(arbstr, "/v1/moderations", {"input": "hello"})
    message = await arbstr.refused(answer, 404, "invalid_request_error", "not_found")
    assert message.startswith("No provider serves /v1/moderations: 'alpha'")


async def test_a_node_is_not_asked_for_what_names_no_model(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", kind="routstr", models=(), input_rate=0, output_rate=0)
    arbstr = await harness.start()
    answer = await post(arbstr, "/v1/moderations", {"input": "hello"})
    message = await arbstr.refused(answer, 404, "invalid_request_error", "not_found")
    assert "No provider serves /v1/moderations" in message


async def test_a_model_that_nobody_lists_is_offered_to_all_of_them(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", json_reply({"results": []}))
    arbstr = await harness.start()
    assert (await post(arbstr, "/v1/rerank", {"model": "rerank-9", "query": "x"})).status == 200
    assert (await post(arbstr, "/v1/embeddings", {"model": "rerank-9", "input": "x"})).status == 404


async def test_only_what_is_listed_is_passed_through(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", json_reply({"ok": 1}))
    arbstr = await harness.start(server={"passthrough": ["x/*"]})
    assert (await post(arbstr, "/v1/x/y.z/w", {})).status == 200
    for path in ("/v1/images/generations", "/v1/x/", "/v1/x/a%20b"):
        assert (await post(arbstr, path, {})).status == 404, path
    assert [asked.path for asked in alpha.requests] == ["/v1/x/y.z/w"]


async def test_an_error_in_an_answer_is_none(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", json_reply({"error": {"message": "no"}}), models=(), input_rate=1)
    await harness.add_provider("beta", json_reply(IMAGE), models=(), input_rate=2)
    arbstr = await harness.start()
    answer = await post(arbstr, "/v1/images/generations", {"prompt": "a cat"})
    assert answer.headers["X-Arbstr-Retries"] == "1/alpha"
