"""arbstr as systemd runs it: on a port that is open already, and telling what it does."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path

import httpx

from tests.support.patience import PATIENCE_S
from tests.support.serve_process import ServeProcess, eventually

ACTIVATES = """
import os, socket, sys
port = socket.create_server(("127.0.0.1", 0))
os.dup2(port.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
open(sys.argv[1], "w").write(str(port.getsockname()[1]))
os.execvp(sys.argv[2], sys.argv[2:])
"""


def test_it_serves_on_the_port_it_is_given_and_tells_what_it_does(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hearing:
        hearing.bind(str(tmp_path / "notify"))
        hearing.settimeout(PATIENCE_S)
        under = (sys.executable, "-c", ACTIVATES, str(tmp_path / "port"))
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        with ServeProcess(tmp_path, "-c", "config.toml", "--mock", env=env, under=under) as arbstr:
            assert arbstr.url == f"http://127.0.0.1:{(tmp_path / 'port').read_text()}"
            assert hearing.recv(1000).decode().endswith(f"listens on {arbstr.url}")
            assert httpx.get(f"{arbstr.url}/health", timeout=PATIENCE_S).status_code == 200
            arbstr.process.send_signal(signal.SIGHUP)
            heard = [hearing.recv(1000).partition(b"\n")[0] for _ in range(2)]
            assert heard == [b"RELOADING=1", b"READY=1"]
            (tmp_path / "config.toml").write_text("[sever]\n")
            arbstr.process.send_signal(signal.SIGHUP)
            eventually(
                lambda: "STATUS=the configuration was refused: config.toml: sever" in hearing.recv(1000).decode()
            )
            arbstr.process.send_signal(signal.SIGTERM)
            eventually(lambda: hearing.recv(1000).startswith(b"STOPPING=1"))
            assert arbstr.process.wait(PATIENCE_S) == 0
