"""Fake providers on this machine, and made-up clients for them: arbstr without spending a sat.

A *fake provider* is a real HTTP server on 127.0.0.1 that answers as a Routstr node does, with its own rates, speed and
failure rate. The *fleet* is all of them, and the configuration that names them. *Demo traffic* is the made-up clients.

A request with tools gets a call of one of them, the one that `tool_choice` names or whose words fit the question, until
the result is there. `response_format` is filled from its schema, and `n` answers are given.

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
