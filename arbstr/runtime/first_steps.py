"""What the log says at the start: where clients are to be pointed, at which models, and a request to try."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Sequence

from arbstr.config.address import parse_address
from arbstr.config.schema import Config
from arbstr.sanitize import sanitize

logger = logging.getLogger(__name__)

_NAMED = 8  # models


def tell_first_steps(url: str, config: Config, models: Sequence[str]) -> None:
    """Log the lines."""
    for line in first_steps(url, config, models):
        logger.info("%s", line)


def first_steps(url: str, config: Config, models: Sequence[str]) -> list[str]:
    """Return the lines, for a client on this machine; `models` are those that are known by now."""
    url = f"http://{parse_address(url.removeprefix('http://')).here}"
    more = f" and {len(models) - _NAMED} more" if len(models) > _NAMED else ""
    listed = ", ".join(models[:_NAMED]) + more if models else "as providers list them, at /v1/models"
    return [f"base URL for clients: {url}/v1; models: {sanitize(listed)}", f"to try it: {_curl(url, config, models)}"]


def _curl(url: str, config: Config, models: Sequence[str]) -> str:
    """Return a command that works in a shell as it is, if the key that is needed is in a variable."""
    message = {"role": "user", "content": "Hello"}
    body = json.dumps({"model": sanitize(models[0]) if models else "MODEL", "messages": [message]}, ensure_ascii=False)
    key = "ARBSTR_KEY" if config.clients else "ARBSTR_TOKEN"
    is_open = not config.clients and config.server.auth_token is None
    headers = "" if is_open else f' -H "Authorization: Bearer ${key}"'
    return f"curl {url}/v1/chat/completions -H 'Content-Type: application/json'{headers} -d {shlex.quote(body)}"
