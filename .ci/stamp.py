"""Stamps a wheel with the commit that it is built from; without git it is built without."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LENGTH = 10  # digits


class CommitStamp(BuildHookInterface[Any]):
    """Adds `arbstr/commit.txt`, which `arbstr --version` reads."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file to a wheel; a checkout that is installed as it is asks git itself."""
        commit = None if version == "editable" else _commit(self.root)
        if commit is not None:
            stamp = Path(self.directory) / "commit.txt"
            stamp.parent.mkdir(parents=True, exist_ok=True)
            stamp.write_text(f"{commit}\n")
            build_data["force_include"][str(stamp)] = "arbstr/commit.txt"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was made."""
        (Path(self.directory) / "commit.txt").unlink(missing_ok=True)


def _commit(root: str) -> str | None:
    if not (Path(root) / ".git").exists():
        return None
    try:
        command = ["git", "rev-parse", f"--short={LENGTH}", "HEAD"]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603 - a fixed command
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
