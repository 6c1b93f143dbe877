from __future__ import annotations

import subprocess
import sys

CODE = """
from arbstr.server.certificates import load_certificates
import ssl
from aiohttp import connector

def loaded():
    return [one.cert_store_stats()["x509"] for one in contexts]

contexts = connector._SSL_CONTEXT_VERIFIED, connector._SSL_CONTEXT_UNVERIFIED
print(loaded() == [0, 0])
load_certificates()
everything = ssl.create_default_context().cert_store_stats()["x509"]
print(loaded() == [everything, everything])
"""


def test_aiohttp_has_its_certificates_later_and_all_others_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
