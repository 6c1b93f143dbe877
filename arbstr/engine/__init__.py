"""The decisions about one request: whom to ask, in which order, what to do when it fails, what it cost.

`pipeline.Engine.handle` is the whole life of a request. Words used here: a *request context* is the state of one
request; an *attempt* one try at one provider; a *candidate* a provider that may serve the request; a *permit* a
request's place at a provider; a *reservation* money set aside until the cost is known; *charged* what the provider
says it took, *list cost* what its rates say.
"""

import sys

# httpx's own command line would bring in rich, click and pygments: 40 ms and 10 MB. Without it httpx does as well.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # None is how a module is declared absent
