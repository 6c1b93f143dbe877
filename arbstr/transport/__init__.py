"""An HTTP/1.1 client behind httpx's transport interface: pools by host, one request at a time per connection.

It exists for speed: a quarter of the CPU of a whole client. It imports nothing of arbstr; which proxy to use it is
asked of a function that it is given. It has no HTTP/2, no cookies, no redirects and no limit to
the connections of a pool. Words used here: a *host pool* keeps the idle connections of one host; a *response stream*
is a response as it arrives; a *connector* opens sockets, directly or through a proxy.
"""
