"""Certificates of the tests' own, made by `openssl`, which PostgreSQL's packages bring along."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Authority:
    """An authority that nobody else knows: its certificate is the file `certificate`."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._key = directory / f"{name}.key"
        self.certificate = directory / f"{name}.pem"
        of_itself = ("-x509", "-subj", f"/CN={name}", "-out", str(self.certificate))
        _openssl("req", *_KEY, *of_itself, "-keyout", str(self._key))

    def issue(self, host: str) -> tuple[Path, Path]:
        """Return the files of a certificate for a host, and of its key."""
        certificate, key, request, names = (self._directory / f"{host}.{end}" for end in ("pem", "key", "csr", "txt"))
        names.write_text(f"subjectAltName=DNS:{host}")
        _openssl("req", *_KEY, "-subj", f"/CN={host}", "-out", str(request), "-keyout", str(key))
        signed_by = ("-CA", str(self.certificate), "-CAkey", str(self._key), "-CAcreateserial", "-extfile", str(names))
        _openssl("x509", "-req", "-in", str(request), *signed_by, "-out", str(certificate))
        return certificate, key


def _openssl(*arguments: str) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine, which makes certificates")
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
