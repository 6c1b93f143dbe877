from __future__ import annotations

import subprocess
import sys

CODE = """
import arbstr.server
import ssl
from aiohttp import connector
from arbstr.transport.pool import tls_context

everything = ssl.create_default_context().cert_store_stats()["x509"]
for context in (connector._SSL_CONTEXT_VERIFIED, connector._SSL_CONTEXT_UNVERIFIED, tls_context()):
    print(context.cert_store_stats()["x509"] == everything, context.verify_mode.name)
"""


def test_aiohttps_client_has_no_certificates_and_arbstrs_own_has_all() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False CERT_REQUIRED", "False CERT_NONE", "True CERT_REQUIRED"]
