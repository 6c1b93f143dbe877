"""One call to a provider: what is sent, how long it may take, and what came back.

The `caller` sends and classifies failures. The *verdict* on a body is the one reader of what is an answer; a
*refusal* is an answer with an error's status; the *opening* of a stream is held back until it is known what it is.
The `stream_observer` reads usage and cost from a stream as it passes and never alters a model's words; `masking`
hides keys everywhere else.
"""
