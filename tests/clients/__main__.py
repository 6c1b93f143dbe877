"""Unmodified clients, asking arbstr and, as control, a provider directly: `python -m tests.clients [--quick] [NAME…]`.

Installs the clients in a folder of their own, which later runs use again. Each prints its checks; the exit status is 1
when one failed, or when a request that reached arbstr has no metered row. `--quick` leaves out those that take minutes
to install. Clients for Node are left out, and named, where there is no npm.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from arbstr.config.schema import Config, Mock, MockProvider
from arbstr.mock import FakeFleet
from tests.support.serve_process import ServeProcess

HERE = Path(__file__).parent
SELLERS = '[[mock.providers]]\nname = "a"\nmodels = ["gpt-4o"]\ndelay_ms = 5\ntokens_per_second = 0\n'
INSTALL_S = 600
CLIENT_S = 120


@dataclass(frozen=True)
class Client:
    """A client: its name, the folder of its kind, its program. `slow` ones take minutes to install."""

    name: str
    kind: str
    program: str
    slow: bool = False


CLIENTS = (
    Client("openai for Node", "node", "openai.mjs"),
    Client("Vercel AI SDK", "node", "vercel.mjs"),
    Client("openai for Python", "python", "openai_sdk.py", slow=True),
    Client("LangChain", "python", "langchain_sdk.py", slow=True),
    Client("LiteLLM SDK", "python", "litellm_sdk.py", slow=True),
)


def installed(kind: str) -> Path:
    """A folder in which the clients of a kind are installed; made once for what is asked for."""
    wanted = HERE / kind / ("package.json" if kind == "node" else "requirements.txt")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "arbstr-clients"
    home = cache / f"{kind}-{hashlib.sha256(wanted.read_bytes()).hexdigest()[:16]}"
    if not (home / "done").exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        shutil.copy(wanted, home)
        for command in _installing(kind, home):
            subprocess.run(command, cwd=home, check=True, timeout=INSTALL_S)
        (home / "done").touch()
    for program in (HERE / kind).iterdir():
        if program.is_file():
            shutil.copy(program, home)  # modules are looked for beside the program that imports them
    return home


def _installing(kind: str, home: Path) -> list[list[str]]:
    if kind == "node":
        return [["npm", "install", "--silent", "--no-audit", "--no-fund"]]
    pip = [str(home / "venv/bin/pip"), "install", "-qq", "--disable-pip-version-check", "-r", "requirements.txt"]
    return [[sys.executable, "-m", "venv", "venv"], pip]


def checks_of(client: Client, base_url: str) -> list[dict[str, str | bool]]:
    """Run a client against a server; what it found out."""
    home = installed(client.kind)
    runner = ["node"] if client.kind == "node" else [str(home / "venv/bin/python")]
    environ = {**os.environ, "CLIENTS_BASE_URL": base_url}
    run = subprocess.run(
        [*runner, client.program], cwd=home, env=environ, capture_output=True, text=True, timeout=CLIENT_S, check=False
    )
    found = [json.loads(line) for line in run.stdout.splitlines() if line.startswith('{"check"')]
    if run.returncode or not found:
        found.append({"check": "runs", "ok": False, "why": run.stderr.strip()[-500:]})
    return found


def report(client: Client, whom: str, found: Sequence[dict[str, str | bool]]) -> int:
    """Print what a client found; how many checks failed."""
    failed = [check for check in found if not check["ok"]]
    print(f"{client.name:<20} {whom:<10} {len(found) - len(failed)} passed, {len(failed)} failed", flush=True)
    for check in failed:
        print(f"    {check['check']}: {check['why']}")
    return len(failed)


def unmetered(arbstr: ServeProcess) -> int:
    """How many answered requests have a row without tokens or cost."""
    rows = arbstr.get("/v1/requests?per_page=100&success=true")["data"]
    return sum(row["tokens"]["output"] is None or row["cost"]["sats"] is None for row in rows)


async def control(clients: Sequence[Client]) -> int:
    """The same checks, with a provider asked directly."""
    provider = MockProvider(name="a", models=("gpt-4o",), delay_ms=5, tokens_per_second=0)
    async with FakeFleet(Config(mock=Mock(providers=(provider,)))) as fleet:
        url = fleet.config.providers[0].url
        return sum([report(one, "provider", await asyncio.to_thread(checks_of, one, url)) for one in clients])


def main(arguments: list[str]) -> int:
    """Run the clients that are asked for; the exit status."""
    names = [argument for argument in arguments if argument != "--quick"]
    clients = [one for one in CLIENTS if not (one.slow and "--quick" in arguments) and (not names or one.name in names)]
    if shutil.which("npm") is None:
        print("left out, for there is no npm: " + ", ".join(one.name for one in clients if one.kind == "node"))
        clients = [one for one in clients if one.kind != "node"]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="arbstr-clients-") as home:
        (Path(home) / "config.toml").write_text(SELLERS)
        with ServeProcess(Path(home), "-c", "config.toml", "--mock") as arbstr:
            for client in clients:
                failed += report(client, "arbstr", checks_of(client, f"{arbstr.url}/v1"))
            if missing := unmetered(arbstr):
                print(f"{missing} answered requests have no metered row")
                failed += missing
    failed += asyncio.run(control(clients))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
