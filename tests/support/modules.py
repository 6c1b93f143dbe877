"""All modules of arbstr and its dashboard, loaded before anything needs them."""

from __future__ import annotations

import pkgutil
from importlib import import_module

PROGRAMS = ("arbstr.__main__",)  # loading one runs it


def load_all() -> None:
    """Import every module of both packages."""
    for package in ("arbstr", "tui"):
        for module in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
            if module.name not in PROGRAMS:
                import_module(module.name)
