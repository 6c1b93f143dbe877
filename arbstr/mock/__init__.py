"""Fake providers on this machine, and made-up clients for them: arbstr without spending a sat.

A *fake provider* is a real HTTP server on 127.0.0.1 that answers as a Routstr node does, with its own rates, speed and
failure rate. The *fleet* is all of them, and the configuration that names them. *Demo traffic* is the made-up clients.

It speaks chat completions, completions, Responses, Anthropic's messages and embeddings, and knows images, speech,
transcriptions, moderations and reranking; `dialects` of a `[[mock.providers]]` makes it speak some of them only, and
answer 404 to the others. It does not count tokens (`/v1/messages/count_tokens`): real nodes hold money for that.

A request with tools gets a call of one of them: the one that `tool_choice` names, or those that the question spells out
(`call get_weather with {"city": "Bern"} and call get_time with {}`), or the one whose words fit it. Once a result is
there, the answer quotes it. JSON is filled from the schema that was asked for, `n` answers are given, and there is
reasoning where a request asks for it. A limit of up to 1000 tokens is used up. Of prompts of 1024 tokens and more the
beginning that the provider saw before counts as cached; Anthropic's have to ask for that with `cache_control`.

The model's name may choose a *behavior*; every fake provider takes these names, and no list of models shows them:

| model | the provider |
|---|---|
| `mock-error-503` | answers with that status; any from 300 to 599 (429 says `Retry-After: 1`) |
| `mock-error-429-after-30` | the same, and says `Retry-After: 30` |
| `mock-slow` | takes ten times its usual time |
| `mock-hang` | takes the request and never answers |
| `mock-stall` | sends half of the answer, then nothing more, and keeps the connection open |
| `mock-refuse` | closes the connection without an answer |
| `mock-bad-json` | answers 200 with a body that is no JSON |
| `mock-empty` | answers 200 with nothing |
| `mock-empty-stream` | the same |
| `mock-error-event` | answers 200, and says in the body, or the first event, that there was an error |
| `mock-late-error` | the same in the middle of a stream; not streaming, as `mock-error-event` |
| `mock-drop-stream` | breaks the connection in the middle of the answer |
| `mock-cut-stream` | ends a stream in its middle with a usage of zero, as Routstr does when its own upstream fails |
| `mock-no-done` | ends a stream without `[DONE]` |
| `mock-no-usage` | reports neither usage nor charge |
| `mock-json-stream` | answers in one piece although a stream was asked for |
| `mock-overcharge` | charges three times what its rates say |
| `mock-unknown-model` | rejects the model as unknown |
| `mock-echo` | answers with the last message itself |

With `@` and a provider's name, as in `mock-error-503@mock-swift`, only that one does; the others answer as usual.
"""

from arbstr.mock.demo_traffic import DemoTraffic
from arbstr.mock.fleet import FakeFleet

__all__ = ["DemoTraffic", "FakeFleet"]
