"""A real arbstr among clients and providers of all kinds: `python -m tests.perf.soak [REQUESTS] [CONCURRENCY]`."""
