"""Benchmarks of the proxy: `python -m tests.bench --help`. Nothing here asserts a time."""
