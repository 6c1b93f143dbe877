"""A real arbstr among clients and providers of all kinds: `python -m tests.soak [REQUESTS] [CONCURRENCY]`."""
