"""Unmodified clients, asking a provider directly, as control, and arbstr: `python -m tests.clients [--quick] [NAME…]`.

arbstr stands in front of a provider that speaks every dialect, and of one that speaks chat alone, so that Responses and
messages are translated; `--at provider|native|translated` chooses one of the three.

Each client prints its checks; the exit status is 1 when one failed, or when arbstr has not one metered row for each
request that reached the provider. The clients are installed in folders of their own, which later runs use again; each
runs with an empty home, and a proxy that lets nobody out. `--quick` leaves out those that take minutes to install.
Clients that come by npm are left out, and named, where there is none.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.clients.install import BY_NPM, HERE, installed, programs
from tests.clients.refusing_proxy import RefusingProxy
from tests.clients.servers import TOKEN, Server, server

SERVERS = ("provider", "native", "translated")
KINDS = ("right", "streams", "tools")
CLIENT_S = 240
ROUNDED_SATS = 0.0011  # providers charge whole msats
QUIET = {
    "AIDER_ANALYTICS": "false",
    "AIDER_CHECK_UPDATE": "false",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DO_NOT_TRACK": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "NO_COLOR": "1",
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
    "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
}  # what keeps clients from asking for updates and from telling of themselves


@dataclass(frozen=True)
class Client:
    """A client: its name, its program, and what is installed for it. `slow` ones take minutes to install."""

    name: str
    folder: str
    program: str
    kind: str
    slow: bool = True
    confused: tuple[str, ...] = ()  # checks that fail where a node ends messages with an event of its own, `cost`


VERCEL = ("anthropic_stream", "anthropic_streamed_tools")
CLIENTS = (
    Client("openai for Python", "python", "openai_sdk.py", "python", slow=False),
    Client("anthropic for Python", "python", "anthropic_sdk.py", "python", slow=False),
    Client("openai for Node", "node", "openai.mjs", "node", slow=False),
    Client("anthropic for Node", "node", "anthropic.mjs", "node"),
    Client("Vercel AI SDK 6", "node", "vercel6.mjs", "node", confused=VERCEL),
    Client("Vercel AI SDK 7", "node", "vercel7.mjs", "node", confused=VERCEL),
    Client("LangChain", "frameworks", "langchain_sdk.py", "frameworks"),
    Client("LiteLLM SDK", "frameworks", "litellm_sdk.py", "frameworks"),
    Client("pydantic-ai", "frameworks", "pydantic_ai_sdk.py", "frameworks"),
    Client("OpenAI Agents SDK", "frameworks", "agents_sdk.py", "frameworks"),
    Client("llm", "cli", "llm_cli.py", "frameworks"),
    Client("Codex", "cli", "codex.py", "cli"),
    Client("Claude Code", "cli", "claude_code.py", "cli"),
    Client("opencode", "cli", "opencode.py", "cli", confused=("message_streamed", "message_tools")),
    Client("aider", "cli", "aider_cli.py", "aider"),
)


@dataclass
class Result:
    """What a client found at a server: checks, what became of its requests, and what it wanted of others."""

    client: str
    server: str
    checks: list[dict[str, Any]]
    requests: int = 0
    rows: int = 0
    faults: list[str] = field(default_factory=list)
    dialects: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    confused: tuple[str, ...] = ()

    @property
    def failures(self) -> list[str]:
        """All that is wrong."""
        wrong = [check for check in self.checks if not check["ok"] and check["check"] not in self.confused]
        return [f"{check['check']}: {check['why'][:240]}" for check in wrong] + self.faults

    def line(self) -> str:
        """The result as a line of the table."""
        counts = {kind: [check["ok"] for check in self.checks if _kind(check["check"]) == kind] for kind in KINDS}
        cells = [f"{f'{sum(oks)}/{len(oks)}' if oks else '-':>8}" for oks in counts.values()]
        rows = f"{self.rows} of {self.requests}" if self.server != "provider" else f"({self.requests})"
        return f"{self.client:<21}{self.server:<11}{''.join(cells)}  {rows:>10}  {' '.join(self.dialects)}"


HEADING = f"{'client':<21}{'at':<11}{''.join(f'{kind:>8}' for kind in KINDS)}  {'rows':>10}  dialects"


def _kind(check: str) -> str:
    return "tools" if "tool" in check else "streams" if "stream" in check else "right"


def interpreter_of(client: Client) -> str:
    """What runs a client's program: node, the Python that has its library, or this one for programs of their own."""
    if client.folder == "node":
        return "node"
    return sys.executable if client.folder == "cli" else str(programs(client.kind) / "python")


def environment(client: Client, at: Server, proxy: str, home: str) -> dict[str, str]:
    """What a client's program finds in its environment: an empty home, and no way out but the server."""
    return {
        **{name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TERM", "TMPDIR") if name in os.environ},
        **QUIET,
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), proxy),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
        "HOME": home,
        "PYTHONPATH": str(HERE / "common"),
        **({"ARBSTR_CONFIG": str(at.config), "ARBSTR_TOKEN": TOKEN} if at.config else {}),
        "CLIENTS_ARBSTR": sys.executable,
        "CLIENTS_AT": at.name,
        "CLIENTS_BASE_URL": at.url,
        "CLIENTS_PROGRAMS": str(programs(client.kind)),
    }


def checks_of(client: Client, at: Server, proxy: str) -> list[dict[str, Any]]:
    """Run a client against a server; what it found out."""
    program = (installed("node") if client.folder == "node" else HERE / client.folder) / client.program
    with tempfile.TemporaryDirectory(prefix="arbstr-client-home-", ignore_cleanup_errors=True) as home:
        run = subprocess.Popen(
            [interpreter_of(client), str(program)],
            cwd=home,
            env=environment(client, at, proxy, home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, said = run.communicate(timeout=CLIENT_S)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)  # with what it started itself
            out, said = run.communicate()
    found = [json.loads(line) for line in out.splitlines() if line.startswith('{"check"')]
    if run.returncode or not found:
        found.append({"check": "runs", "ok": False, "why": f"status {run.returncode}: {said.strip()[-500:]}"})
    return found


async def result_of(client: Client, at: Server) -> Result:
    """Run a client against a server, and look at the rows that it left."""
    before, asked = len(await at.rows()), at.fleet.asked[0]
    async with RefusingProxy() as proxy:
        checks = await asyncio.to_thread(checks_of, client, at, proxy.url)
        outside = sorted(set(proxy.wanted))
    confused = () if at.name == "translated" else client.confused
    result = Result(client.name, at.name, checks, at.fleet.asked[0] - asked, outside=outside, confused=confused)
    rows = (await at.rows())[before:]
    result.rows = len(rows)
    result.dialects = sorted({row["dialect"] for row in rows})
    if at.config is not None and result.rows != result.requests:
        result.faults.append(f"{result.requests} requests reached the provider, and there are {result.rows} rows")
    result.faults += [f"not metered: {json.dumps(row)}" for row in rows if row["success"] and not metered(row)]
    return result


def metered(row: dict[str, Any]) -> bool:
    """Check whether a row has its tokens, and the cost that they come to, which is what the provider charged.

    Images, sound and moderations need neither.
    """
    if row["dialect"] not in ("chat", "responses", "messages", "embeddings", "completions"):
        return True
    tokens, cost = row["tokens"], row["cost"]
    if None in (tokens["input"], tokens["output"], cost["sats"], cost["provider_sats"]):
        return False
    return bool(abs(cost["list_sats"] - cost["provider_sats"]) < ROUNDED_SATS)


async def ask(name: str, clients: Sequence[Client]) -> list[Result]:
    """Run clients against a server, one after the other; print each one's result."""
    results = []
    async with server(name) as at:
        for client in clients:
            results.append(result := await result_of(client, at))
            print(result.line(), flush=True)
            for failure in result.failures:
                print(f"    {failure}", flush=True)
            if result.confused:
                print(f"    may fail by a node's event `cost`: {' '.join(result.confused)}", flush=True)
            if result.outside:
                print(f"    wanted of others, and did not get: {' '.join(result.outside)}", flush=True)
    return results


async def ask_all(names: Sequence[str], clients: Sequence[Client]) -> bool:
    """Run clients against servers, at the same time; whether all went well."""
    print(HEADING)
    found = await asyncio.gather(*(ask(name, clients) for name in names))
    return not any(result.failures for results in found for result in results)


def main(arguments: list[str]) -> int:
    """Run the clients that are asked for; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.clients")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--at", choices=SERVERS, action="append")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(client.name for client in CLIENTS))
    options = parser.parse_args(arguments)
    clients = [
        one for one in CLIENTS if not (one.slow and options.quick) and (not options.names or one.name in options.names)
    ]
    if shutil.which("npm") is None:
        print("left out, for there is no npm: " + ", ".join(one.name for one in clients if one.kind in BY_NPM))
        clients = [one for one in clients if one.kind not in BY_NPM]
    for kind in dict.fromkeys(one.kind for one in clients):
        installed(kind)
    return int(not asyncio.run(ask_all(options.at or SERVERS, clients)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
