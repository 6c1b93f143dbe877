"""`python -m tests.bench`: the proxy's benchmark."""

from tests.bench.proxy import main

main()
