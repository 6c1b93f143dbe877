"""The decisions about one request: which providers to try, in which order, how to recover, what it cost.

`pipeline.Engine.handle` is the whole life of a request. Words used here: a *request context* is the state of one
request; an *attempt* one try at one provider; a *candidate* a provider that may serve the request; a *permit* a
request's slot at a provider; a *reservation* money set aside until the cost is known; *charged* is what the provider
says it charged, *list cost* what its rates say.
"""

import sys

# httpx's command line would import rich, click and pygments: 40 ms and 10 MB. httpx works without it.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # None declares a module absent
