"""The HTTP server for clients, on aiohttp: accepting, access control, bodies, responses.

The `acceptor` accepts connections, `connections` limits them, `access` checks Host, Origin and token, the `router`
finds the endpoint. A *client connection* (`client`) is what the engine sees of a request's client.
"""

from arbstr.server import certificates as certificates  # before anything imports aiohttp
