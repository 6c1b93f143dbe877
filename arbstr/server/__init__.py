"""The network: the server that clients talk to, and the transport towards providers. aiohttp lives here."""
