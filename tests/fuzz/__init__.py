"""arbstr under bytes that nobody means: from clients, providers, files and questions. See `__main__` for long runs."""
