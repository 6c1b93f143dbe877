"""How a fake provider answers, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from arbstr.config.schema import Config, Mock, MockProvider
from arbstr.mock import FakeFleet

MESSAGES = [{"role": "user", "content": "Tell me something about the weather in the mountains."}]


@dataclass
class Answered:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def data(self) -> list[str]:
        """The data of each event."""
        return [block.removeprefix("data: ") for block in self.text.split("\n\n") if block]

    @property
    def chunks(self) -> list[Any]:
        return [json.loads(data) for data in self.data if data != "[DONE]"]

    @property
    def content(self) -> str:
        """The text that the events carry."""
        deltas = [choice["delta"] for chunk in self.chunks for choice in chunk.get("choices", [])]
        return "".join(delta.get("content", "") for delta in deltas)


@dataclass
class Client:
    """A client of the fleet's first provider."""

    session: aiohttp.ClientSession
    fleet: FakeFleet

    @property
    def url(self) -> str:
        return self.fleet.config.providers[0].url

    async def ask(self, model: str = "gpt-4o", **fields: Any) -> Answered:
        return await self.send(json.dumps({"model": model, "messages": MESSAGES, **fields}).encode())

    async def send(self, body: bytes) -> Answered:
        async with self.session.post(f"{self.url}/chat/completions", data=body) as response:
            text = await response.text()
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answered(response.status, headers, text)


@asynccontextmanager
async def client_of_fleet(*, seed: int = 1, **behaviors: Any) -> AsyncIterator[Client]:
    """A customer of a provider without delays, which has these manners."""
    quick = {"name": "a", "models": ("gpt-4o",), "delay_ms": 0, "tokens_per_second": 0, **behaviors}
    config = Config(mock=Mock(providers=(MockProvider(**quick),), seed=seed))
    async with FakeFleet(config) as fleet, aiohttp.ClientSession() as session:
        yield Client(session, fleet)


# --- answers as they should be


async def test_an_answer_says_what_it_took_and_charged_in_all_the_places_a_node_does() -> None:
    async with client_of_fleet(input_rate=2.5, output_rate=10, base_fee=0.1) as who:
        answered = await who.ask(max_tokens=7)
    document = answered.json
    chars = len(MESSAGES[0]["content"])
    usage = document["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (chars // 4, 7)
    assert usage["total_tokens"] == chars // 4 + 7
    charged = 203  # 13 tokens at 2.5 msats, 7 at 10, a fee of 100: 202.5, rounded up
    assert usage["cost"]["total_msats"] == charged
    assert document["cost"]["total_msats"] == charged
    assert document["metadata"]["routstr"]["cost"]["total_msats"] == charged
    assert answered.headers["x-routstr-cost-msats"] == str(charged)


async def test_a_stream_has_an_event_for_each_token_then_usage_without_choices_then_done() -> None:
    async with client_of_fleet() as who:
        answered = await who.ask(stream=True, max_tokens=5)
    assert answered.headers["content-type"].startswith("text/event-stream")
    assert answered.data[-1] == "[DONE]"
    *tokens, finish, usage = answered.chunks
    assert [len(chunk["choices"]) for chunk in tokens] == [1] * 5
    assert tokens[0]["choices"][0]["delta"]["role"] == "assistant"
    assert finish["choices"][0]["finish_reason"] == "length"
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 5
    assert usage["cost"]["total_msats"] == usage["usage"]["cost"]["total_msats"] > 0


async def test_a_request_without_a_limit_gets_whole_sentences_soon_over() -> None:
    async with client_of_fleet() as who:
        for _ in range(5):
            choice = (await who.ask()).json["choices"][0]
            assert choice["finish_reason"] == "stop"
            assert choice["message"]["content"].endswith(".")
            assert len(choice["message"]["content"]) < 2000


async def test_max_completion_tokens_is_a_limit() -> None:
    async with client_of_fleet() as who:
        answered = await who.ask(max_completion_tokens=3)
    assert answered.json["usage"]["completion_tokens"] == 3


async def test_texts_in_parts_are_counted() -> None:
    parts = [{"type": "text", "text": "x" * 400}, {"type": "image_url", "image_url": {"url": "data:"}}]
    async with client_of_fleet() as who:
        answered = await who.ask(messages=[{"role": "user", "content": parts}], max_tokens=1)
    assert answered.json["usage"]["prompt_tokens"] == 100


async def test_a_provider_may_charge_more_than_its_rates_say() -> None:
    async with client_of_fleet(input_rate=0, output_rate=10, charge_factor=1.5) as who:
        answered = await who.ask(max_tokens=4)
    assert answered.json["usage"]["cost"]["total_msats"] == 60


async def test_the_same_seed_gives_the_same_answers() -> None:
    texts = []
    for seed in (3, 3, 4):
        async with client_of_fleet(seed=seed) as who:
            texts.append([(await who.ask()).json["choices"][0]["message"]["content"] for _ in range(3)])
    assert texts[0] == texts[1] != texts[2]


async def test_the_catalogue_has_the_models_with_their_prices_and_no_behaviors() -> None:
    async with client_of_fleet(input_rate=2.5) as who, who.session.get(f"{who.url}/models") as response:
        document = await response.json()
    assert [model["id"] for model in document["data"]] == ["gpt-4o"]
    assert document["data"][0]["sats_pricing"]["prompt"] == pytest.approx(0.0025)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"{}", b'{"model": 1, "messages": []}', b'{"model": "gpt-4o", "messages": 1}']
)
async def test_what_is_no_request_is_refused(body: bytes) -> None:
    async with client_of_fleet() as who:
        answered = await who.send(body)
    assert answered.status == 400
    assert answered.json["error"]["code"] == "invalid_json"


@pytest.mark.parametrize("messages", [[], [1], [{}], [{"content": None}], [{"content": [1, {"text": 2}]}]])
async def test_odd_messages_get_an_answer_all_the_same(messages: list[Any]) -> None:
    async with client_of_fleet() as who:
        assert (await who.ask(messages=messages, max_tokens=2)).status == 200


async def test_a_model_it_does_not_have_is_refused_as_nodes_do() -> None:
    async with client_of_fleet() as who:
        answered = await who.ask("gpt-5")
    assert answered.status == 400
    assert answered.json["error"]["type"] == "invalid_model"


async def test_a_provider_without_a_list_takes_every_model() -> None:
    async with client_of_fleet(models=()) as who:
        assert (await who.ask("anything")).status == 200


# --- pace


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_takes_the_time_its_tokens_take(stream: bool) -> None:
    loop = asyncio.get_running_loop()
    async with client_of_fleet(tokens_per_second=200) as who:
        started = loop.time()
        await who.ask(stream=stream, max_tokens=30)
    assert 0.14 < loop.time() - started < 1.0


async def test_tokens_arrive_one_after_the_other() -> None:
    async with client_of_fleet(tokens_per_second=100) as who:
        body = {"model": "gpt-4o", "messages": MESSAGES, "stream": True, "max_tokens": 12}
        async with who.session.post(f"{who.url}/chat/completions", json=body) as response:
            first = await response.content.readany()
    assert 1 <= first.count(b"data:") < 12


async def test_a_slow_one_takes_ten_times_as_long() -> None:
    loop = asyncio.get_running_loop()
    async with client_of_fleet(delay_ms=10) as who:
        started = loop.time()
        await who.ask("mock-slow", max_tokens=1)
    assert loop.time() - started > 0.07


# --- failures


async def test_a_failure_rate_fails_that_share() -> None:
    async with client_of_fleet(failure_rate=0.5) as who:
        statuses = [(await who.ask(max_tokens=1)).status for _ in range(40)]
    assert 10 <= statuses.count(503) <= 30
    assert statuses.count(200) + statuses.count(503) == 40


async def test_a_provider_can_be_made_to_fail_and_to_recover() -> None:
    async with client_of_fleet() as who:
        who.fleet.fail("mock-a", 502)
        assert (await who.ask()).status == 502
        assert (await who.ask("mock-echo")).status == 502
        who.fleet.fail("mock-a", 429)
        assert (await who.ask()).headers["retry-after"] == "1"
        who.fleet.recover("mock-a")
        assert (await who.ask()).status == 200


async def test_requests_are_counted() -> None:
    async with client_of_fleet() as who:
        await who.ask(max_tokens=1)
        await who.ask("mock-error-503")
        assert who.fleet.asked == (2,)


@pytest.mark.parametrize("status", [302, 400, 401, 402, 403, 404, 408, 425, 429, 500, 502, 503, 504, 599])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_status_that_is_asked_for_comes_with_an_error_to_read(status: int, stream: bool) -> None:
    async with client_of_fleet() as who:
        body = json.dumps({"model": f"mock-error-{status}", "messages": MESSAGES, "stream": stream}).encode()
        async with who.session.post(f"{who.url}/chat/completions", data=body, allow_redirects=False) as response:
            assert response.status == status
            assert (await response.json())["error"]["message"]
            assert ("Retry-After" in response.headers) == (status == 429)


async def test_a_payment_refused_looks_like_an_empty_account() -> None:
    async with client_of_fleet() as who:
        error = (await who.ask("mock-error-402")).json["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_balance")


async def test_how_long_to_wait_can_be_chosen() -> None:
    async with client_of_fleet() as who:
        assert (await who.ask("mock-error-429-after-30")).headers["retry-after"] == "30"


async def test_only_the_named_provider_misbehaves() -> None:
    async with client_of_fleet() as who:
        assert (await who.ask("mock-error-503@mock-a")).status == 503
        assert (await who.ask("mock-error-503@mock-b", max_tokens=1)).status == 200


async def test_a_model_may_turn_out_to_be_unknown() -> None:
    async with client_of_fleet() as who:
        answered = await who.ask("mock-unknown-model")
    assert (answered.status, answered.json["error"]["type"]) == (400, "invalid_model")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_connection_closed_without_an_answer(stream: bool) -> None:
    async with client_of_fleet() as who:
        with pytest.raises(aiohttp.ClientConnectionError):
            await who.ask("mock-refuse", stream=stream)


@pytest.mark.parametrize("stream", [True, False])
async def test_no_answer_ever(stream: bool) -> None:
    async with client_of_fleet() as who:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await who.ask("mock-hang", stream=stream)


@pytest.mark.parametrize("stream", [True, False])
async def test_half_an_answer_and_then_nothing(stream: bool) -> None:
    async with client_of_fleet() as who:
        body = {"model": "mock-stall", "messages": MESSAGES, "stream": stream}
        async with who.session.post(f"{who.url}/chat/completions", json=body) as response:
            assert response.status == 200
            assert await response.content.readany()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await response.content.read()


@pytest.mark.parametrize("stream", [True, False])
async def test_a_connection_broken_in_the_middle_of_an_answer(stream: bool) -> None:
    async with client_of_fleet() as who:
        body = {"model": "mock-drop-stream", "messages": MESSAGES, "stream": stream}
        async with who.session.post(f"{who.url}/chat/completions", json=body) as response:
            assert response.status == 200
            with pytest.raises(aiohttp.ClientError):
                await response.read()


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_is_no_json(stream: bool) -> None:
    async with client_of_fleet() as who:
        answered = await who.ask("mock-bad-json", stream=stream)
    assert answered.status == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(answered.data[0] if stream else answered.text)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", ["mock-empty", "mock-empty-stream"])
async def test_an_answer_that_is_empty(model: str, stream: bool) -> None:
    async with client_of_fleet() as who:
        answered = await who.ask(model, stream=stream)
    assert (answered.status, answered.text) == (200, "")


async def test_an_error_instead_of_an_answer() -> None:
    async with client_of_fleet() as who:
        streamed = await who.ask("mock-error-event", stream=True)
        whole = await who.ask("mock-error-event")
    assert [list(chunk) for chunk in streamed.chunks] == [["error"]]
    assert (whole.status, list(whole.json)) == (200, ["error"])


async def test_an_error_in_the_middle_of_a_stream() -> None:
    async with client_of_fleet() as who:
        answered = await who.ask("mock-late-error", stream=True, max_tokens=10)
    assert len(answered.chunks) == 6
    assert answered.chunks[-1]["error"]["type"] == "upstream_error"
    assert answered.data[-1] != "[DONE]"


async def test_a_stream_cut_short_says_that_nothing_was_used() -> None:
    async with client_of_fleet() as who:
        answered = await who.ask("mock-cut-stream", stream=True, max_tokens=10)
    *tokens, usage = answered.chunks
    assert len(tokens) == 5
    assert usage["usage"]["total_tokens"] == usage["cost"]["total_msats"] == 0
    assert answered.data[-1] != "[DONE]"


async def test_a_stream_that_is_complete_but_for_its_end_mark() -> None:
    async with client_of_fleet() as who:
        answered = await who.ask("mock-no-done", stream=True, max_tokens=4)
    assert "[DONE]" not in answered.data
    assert answered.chunks[-2]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_does_not_say_what_it_took(stream: bool) -> None:
    async with client_of_fleet() as who:
        answered = await who.ask("mock-no-usage", stream=stream, max_tokens=4)
    documents = answered.chunks if stream else [answered.json]
    assert not any({"usage", "cost", "metadata"} & set(document) for document in documents)
    assert "x-routstr-cost-msats" not in answered.headers


async def test_an_answer_in_one_piece_to_who_asked_for_a_stream() -> None:
    async with client_of_fleet() as who:
        answered = await who.ask("mock-json-stream", stream=True, max_tokens=4)
    assert answered.headers["content-type"] == "application/json"
    assert answered.json["usage"]["completion_tokens"] == 4


async def test_a_charge_of_three_times_the_price() -> None:
    async with client_of_fleet(input_rate=0, output_rate=10) as who:
        answered = await who.ask("mock-overcharge", max_tokens=4)
    assert answered.json["usage"]["cost"]["total_msats"] == 120


async def test_an_echo_repeats_the_last_message() -> None:
    async with client_of_fleet() as who:
        answered = await who.ask("mock-echo", stream=True)
        cut = await who.ask("mock-echo", max_tokens=2)
    assert answered.content == MESSAGES[0]["content"]
    assert cut.json["choices"][0] == {
        "index": 0,
        "message": {"role": "assistant", "content": "Tell me"},
        "finish_reason": "length",
    }


# --- tools, formats and several answers

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a place",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
            "required": ["city", "days"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}
SHAPE = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}


def called(answered: Answered) -> list[tuple[str, Any]]:
    """The calls of a whole answer: names and parsed arguments."""
    (choice,) = answered.json["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    return [
        (call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in choice["message"]["tool_calls"]
    ]


async def test_the_tool_whose_words_fit_the_question_is_called_with_arguments_that_fit() -> None:
    async with client_of_fleet() as someone:
        answered = await someone.ask(tools=[CLOCK, WEATHER])
    ((name, arguments),) = called(answered)
    assert name == "get_weather"
    assert isinstance(arguments["city"], str)
    assert arguments["days"] >= 1


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        ("required", "get_weather"),
        ({"type": "function", "function": {"name": "get_time"}}, "get_time"),
    ],
)
async def test_a_tool_choice_is_honoured(choice: Any, name: str) -> None:
    async with client_of_fleet() as someone:
        assert called(await someone.ask(tools=[WEATHER, CLOCK], tool_choice=choice))[0][0] == name


async def test_no_tool_is_called_where_none_is_wanted_or_its_result_is_here() -> None:
    result = [
        *MESSAGES,
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": WEATHER["function"]}]},
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
    ]
    async with client_of_fleet() as someone:
        for fields in ({"tool_choice": "none"}, {"messages": result}):
            (choice,) = (await someone.ask(tools=[WEATHER], **fields)).json["choices"]
            assert choice["finish_reason"] == "stop"
            assert choice["message"]["content"]


async def test_a_streamed_call_comes_in_pieces_that_join() -> None:
    async with client_of_fleet() as someone:
        answered = await someone.ask(tools=[WEATHER], stream=True)
    choices = [choice for chunk in answered.chunks for choice in chunk["choices"]]
    calls = [call for choice in choices for call in choice["delta"].get("tool_calls", ())]
    assert calls[0]["id"].startswith("call_")
    assert calls[0]["function"]["name"] == "get_weather"
    assert set(json.loads("".join(call["function"]["arguments"] for call in calls))) == {"city", "days"}
    assert choices[-1]["finish_reason"] == "tool_calls"
    assert answered.data[-1] == "[DONE]"


async def test_an_answer_has_the_format_that_was_asked_for() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": SHAPE}}
    async with client_of_fleet() as someone:
        whole = await someone.ask(response_format=wanted)
        streamed = await someone.ask(response_format=wanted, stream=True)
        free = await someone.ask(response_format={"type": "json_object"})
    assert json.loads(whole.json["choices"][0]["message"]["content"]) == {"answer": "example"}
    assert json.loads(streamed.content) == {"answer": "example"}
    assert isinstance(json.loads(free.json["choices"][0]["message"]["content"]), dict)


async def test_n_choices_come_and_all_are_charged() -> None:
    async with client_of_fleet() as someone:
        whole = await someone.ask(n=3, max_tokens=7)
        streamed = await someone.ask(n=3, max_tokens=7, stream=True)
    assert [choice["index"] for choice in whole.json["choices"]] == [0, 1, 2]
    assert whole.json["usage"]["completion_tokens"] == 21
    ends = [choice["index"] for chunk in streamed.chunks for choice in chunk["choices"] if choice["finish_reason"]]
    assert sorted(ends) == [0, 1, 2]


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": "x"},
        {"tools": [1, {"type": "function"}, {"function": {"name": 5}}]},
        {"tools": [WEATHER], "tool_choice": {"function": "x"}},
        {"response_format": {"type": "json_schema", "json_schema": 5}},
        {"response_format": []},
        {"n": -1},
        {"n": "many"},
        {"messages": []},
    ],
)
async def test_fields_that_make_no_sense_are_passed_over(fields: dict[str, Any]) -> None:
    async with client_of_fleet() as someone:
        assert (await someone.ask(**fields)).status == 200
