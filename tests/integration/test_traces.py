"""Traces: spans at a collector that takes OTLP over HTTP, read by OpenTelemetry's own messages."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from arbstr.market import trace_export
from tests.integration.test_reload import reload
from tests.support.harness import ProxyHarness
from tests.support.provider import (
    Asked,
    Move,
    Script,
    ScriptedProvider,
    completion,
    error_reply,
    json_reply,
    reply,
    sse_reply,
    stream_events,
)

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TAKEN = reply(b"", status=200)
SECRET = "a secret in the prompt"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_export, "EVERY_S", 0.0)


async def collector(harness: ProxyHarness, *script: Script) -> tuple[ScriptedProvider, dict[str, Any]]:
    """Something that takes traces, and the section that names it."""
    taker = await harness.add_provider("collector", *(script or (TAKEN,)))
    harness.providers.pop()
    return taker, {"endpoint": taker.url.removesuffix("/v1")}


def spans(asked: Asked) -> list[dict[str, Any]]:
    """The spans of an export: their fields, and their attributes as they are."""
    assert asked.method == "POST"
    assert asked.path == "/v1/traces"
    assert asked.headers["content-type"] == "application/x-protobuf"
    message = ExportTraceServiceRequest.FromString(asked.body)
    [resource] = message.resource_spans
    assert attributes(resource.resource.attributes)["service.name"] == "arbstr"
    [scope] = resource.scope_spans
    return [
        {
            "trace": span.trace_id.hex(),
            "id": span.span_id.hex(),
            "parent": span.parent_span_id.hex(),
            "name": span.name,
            "kind": span.kind,
            "ms": (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6,
            "starts": span.start_time_unix_nano,
            "status": span.status.code,
            **attributes(span.attributes),
        }
        for span in scope.spans
    ]


def attributes(found: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in found}


async def test_a_request_and_its_attempts_are_spans(harness: ProxyHarness) -> None:
    taker, otel = await collector(harness)
    alpha = await harness.add_provider("alpha", error_reply(500))
    beta = await harness.add_provider("beta", json_reply(completion(tokens=(12, 7))), input_rate=20)
    arbstr = await harness.start(otel=otel, retry={"max_retries": 0})
    answer = await arbstr.chat(SECRET)
    assert answer.status == 200
    body = await taker.asked()
    request, failed, answered = spans(body)
    request_id = answer.headers["X-Arbstr-Request-Id"]
    assert (request["trace"], request["parent"]) == (request_id.replace("-", ""), "")
    assert {failed["trace"], answered["trace"]} == {request["trace"]}
    assert {failed["parent"], answered["parent"]} == {request["id"]}
    assert (request["name"], request["kind"], failed["kind"], answered["kind"]) == ("chat gpt-4o", 2, 3, 3)
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "beta",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": "gpt-4o",
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 7,
        "http.response.status_code": 200,
        "arbstr.request_id": request_id,
        "arbstr.streaming": False,
        "status": 0,
    }
    assert {key: request[key] for key in expected} == expected
    assert request["arbstr.cost_sats"] == pytest.approx(float(answer.headers["X-Arbstr-Cost-Sats"]))
    assert "error.type" not in request
    assert (failed["error.type"], failed["http.response.status_code"], failed["status"]) == ("500", 500, 2)
    for span, provider in ((failed, alpha), (answered, beta)):
        address = urlsplit(provider.url)
        assert (span["server.address"], span["server.port"]) == (address.hostname, address.port)
        assert span["starts"] >= request["starts"]
    assert SECRET.encode() not in body.body
    assert b"sk-" not in body.body


async def test_a_clients_trace_is_continued_and_not_passed_to_providers(harness: ProxyHarness) -> None:
    taker, otel = await collector(harness)
    alpha = await harness.add_provider("alpha")
    arbstr = await harness.start(otel=otel)
    await arbstr.chat(headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
    request, attempt = spans(await taker.asked())
    assert (request["trace"], request["parent"], attempt["trace"]) == (TRACE, PARENT, TRACE)
    assert "traceparent" not in alpha.requests[0].headers


async def test_a_trace_that_its_client_does_not_sample_is_not_exported(harness: ProxyHarness) -> None:
    taker, otel = await collector(harness)
    await harness.add_provider("alpha")
    arbstr = await harness.start(otel=otel)
    await arbstr.chat(headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    await arbstr.chat(headers={"traceparent": f"00-{'0' * 32}-{PARENT}-01"})
    request, _ = spans(await taker.asked())
    assert (request["parent"], len(taker.requests)) == ("", 1)


async def test_a_stream_and_a_refusal_are_reported_as_they_ended(harness: ProxyHarness) -> None:
    taker, otel = await collector(harness)
    await harness.add_provider("alpha", sse_reply(*stream_events("a")))
    arbstr = await harness.start(otel=otel)
    await arbstr.chat(stream=True)
    request, _ = spans(await taker.asked(1))
    assert (request["arbstr.streaming"], request["gen_ai.usage.output_tokens"]) == (True, 5)
    await arbstr.chat(model="nonsense")
    [request] = spans(await taker.asked(2))
    assert (request["error.type"], request["http.response.status_code"], request["status"]) == ("404", 404, 0)


async def test_nothing_waits_for_a_collector_that_hangs_or_is_away(harness: ProxyHarness) -> None:
    taker, otel = await collector(harness, [Move.NEVER])
    await harness.add_provider("alpha")
    arbstr = await harness.start(otel=otel)
    await arbstr.chat()
    await taker.asked()
    for _ in range(5):
        assert (await arbstr.chat()).status == 200
    assert len(taker.requests) == 1


async def test_what_a_collector_refuses_is_dropped_and_reported_once(harness: ProxyHarness) -> None:
    taker, otel = await collector(harness, error_reply(503), error_reply(503), TAKEN)
    await harness.add_provider("alpha")
    arbstr = await harness.start(otel=otel)
    for number in (1, 2, 3):
        assert (await arbstr.chat()).status == 200
        assert len(spans(await taker.asked(number))) == 2
    while "takes them again" not in arbstr.log:
        await arbstr.catch_up()
    assert arbstr.log.count("does not take them") == 1


async def test_what_waits_at_the_end_is_still_posted(harness: ProxyHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    taker, otel = await collector(harness)
    await harness.add_provider("alpha")
    monkeypatch.setattr(trace_export, "EVERY_S", 3600.0)
    arbstr = await harness.start(otel=otel)
    await arbstr.chat()
    await arbstr.finished()
    assert taker.requests == []
    await harness.close()
    assert len(spans(taker.requests[0])) == 2


async def test_a_reload_begins_and_ends_traces(harness: ProxyHarness) -> None:
    taker, otel = await collector(harness)
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    await arbstr.chat()
    await reload(harness, arbstr, otel=otel)
    second = await arbstr.chat()
    request, _ = spans(await taker.asked())
    assert request["arbstr.request_id"] == second.headers["X-Arbstr-Request-Id"]
    await reload(harness, arbstr)
    await arbstr.chat()
    await arbstr.finished(3)
    await harness.close()
    assert len(taker.requests) == 1
