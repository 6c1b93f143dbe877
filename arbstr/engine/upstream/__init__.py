"""One call to a provider: what is sent, how long it may take, and what came back.

The `caller` sends requests and classifies failures. The *verdict* alone decides whether a body is an answer or an
error; a *refusal* is a response with an error status; the *opening* of a stream is held back until it is known what it
is. The `stream_observer` reads usage and cost from a stream as it passes and never alters a model's words; `masking`
hides keys everywhere else.
"""
