"""The HTTP server that clients talk to: accepting, access control, bodies, responses. aiohttp's server lives here.

The `acceptor` takes connections, `connections` limits them, `access` checks Host, Origin and token, the `router` finds
the endpoint. A *client connection* (`client`) is what the engine sees of a request's client.
"""
