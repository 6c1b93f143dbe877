"""arbstr: a local OpenAI-compatible proxy that buys inference from the cheapest provider."""

__version__ = "0.1.0"
