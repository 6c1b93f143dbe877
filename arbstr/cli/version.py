"""What arbstr this is: its version, and the commit that it was built or runs from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import arbstr

_PACKAGE = Path(arbstr.__file__).parent
_LENGTH = 10  # digits of a commit
_PATIENCE_S = 2.0


def version_text() -> str:
    """Return the version, with the commit where that is known."""
    known = commit(_PACKAGE)
    return f"arbstr {arbstr.__version__}" + (f" ({known})" if known else "")


def commit(package: Path) -> str | None:
    """Return the commit that a wheel was stamped with, or that a checkout is at; None where there is neither."""
    try:
        return (package / "commit.txt").read_text(encoding="ascii").strip() or None
    except OSError:
        return _checked_out(package.parent)


def _checked_out(root: Path) -> str | None:
    if not ((root / ".git").exists() and (root / "pyproject.toml").exists()):
        return None
    command = ["git", "rev-parse", f"--short={_LENGTH}", "HEAD"]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            command, cwd=root, capture_output=True, text=True, timeout=_PATIENCE_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
