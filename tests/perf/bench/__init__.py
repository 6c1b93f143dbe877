"""Benchmarks of the proxy: `python -m tests.perf.bench --help`. Nothing here asserts a time."""
