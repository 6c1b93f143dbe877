"""Exchanges with a real Routstr node, to be played back by a scripted provider."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.support.paths import DATA
from tests.support.provider import Part, chunked, head

RECORDINGS = DATA / "routstr"


@dataclass(frozen=True, slots=True)
class Recording:
    """One exchange with a real Routstr node."""

    request: dict[str, Any]
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    measured: dict[str, Any]

    def reply(self) -> list[Part]:
        """The response, framed as the node framed it."""
        framing = {name.lower() for name, _ in self.headers} & {"transfer-encoding", "content-length"}
        kept = [(name, value) for name, value in self.headers if name.lower() != "content-length"]
        if "transfer-encoding" in framing:
            return [head(self.status, *kept), chunked(self.body), b"0\r\n\r\n"]
        return [head(self.status, *kept, ("Content-Length", str(len(self.body)))), self.body]


def recording(name: str) -> Recording:
    """A recorded exchange by its file's name."""
    document = json.loads((RECORDINGS / f"{name}.json").read_text())
    response = document["response"]
    text = response["body_text"] if "body_text" in response else json.dumps(response["body_json"])
    pairs = [(line.partition(":")[0], line.partition(":")[2].strip()) for line in response["headers"]]
    return Recording(document["request"], response["status"], tuple(pairs), text.encode(), document.get("measured", {}))
