"""`python -m tests.perf.bench`: the proxy's benchmark."""

from tests.perf.bench.proxy import main

main()
