"""The clients that arbstr knows how to point at itself: what to write, and where."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from arbstr.connect import json_text, toml_text, yaml_text

UNUSED = "unused"  # what clients send as a key where arbstr wants none, for they insist on one
PLACEHOLDER = "gpt-4o"  # the model where the configuration names none


@dataclass(frozen=True, slots=True)
class Target:
    """What a client is to use: arbstr's URL without /v1, models (the first by default), and the token's variable."""

    root: str
    models: tuple[str, ...] = ()
    token_variable: str | None = None

    @property
    def base(self) -> str:
        """The base URL that OpenAI's clients expect."""
        return f"{self.root}/v1"

    @property
    def model(self) -> str:
        """The model to begin with."""
        return self.models[0] if self.models else PLACEHOLDER

    @property
    def claude(self) -> str | None:
        """The model for a client that asks for Claude by default; None leaves it to the client."""
        return next((model for model in self.models if "claude" in model.lower()), None) or next(
            iter(self.models), None
        )

    @property
    def shell_key(self) -> str:
        """The key as a shell's word."""
        return UNUSED if self.token_variable is None else f'"${self.token_variable}"'

    @property
    def python_key(self) -> str:
        """The key as a Python expression."""
        return f'"{UNUSED}"' if self.token_variable is None else f'os.environ["{self.token_variable}"]'

    @property
    def script_key(self) -> str:
        """The key as a JavaScript expression."""
        return f'"{UNUSED}"' if self.token_variable is None else f"process.env.{self.token_variable}"


class Form(NamedTuple):
    """Settings as text, and as a change of a text that has others."""

    text: str
    merged: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Client:
    """A client: what its settings are, and its own file for them, None if there is none that can be written.

    `hint` says what else is to be known, in a sentence without its full stop.
    """

    name: str
    form: Callable[[Target], Form]
    file: Callable[[Mapping[str, str]], Path] | None = None
    place: str = ""
    hint: Callable[[Target], str] = lambda target: ""


def _toml(settings: dict[str, Any]) -> Form:
    return Form(toml_text.render(settings), lambda text: toml_text.merged(text, settings))


def _json(settings: dict[str, Any]) -> Form:
    return Form(json_text.render(settings), lambda text: json_text.merged(text, settings))


def _text(*lines: str) -> Form:
    """Return what has no file of its own."""
    return Form("".join(f"{line}\n" for line in lines), lambda text: text)


# --- clients with a file of their own


def _codex(target: Target) -> Form:
    provider = {
        "name": "arbstr",
        "base_url": target.base,
        "wire_api": "responses",
        "env_key": target.token_variable,
    }
    return _toml({"model": target.model, "model_provider": "arbstr", "model_providers": {"arbstr": provider}})


def _claude_code(target: Target) -> Form:
    variable = target.token_variable
    environment = {
        "ANTHROPIC_BASE_URL": target.root,
        "ANTHROPIC_AUTH_TOKEN": UNUSED if variable is None else None,
    }
    if target.claude is not None:
        environment |= {"ANTHROPIC_MODEL": target.claude, "ANTHROPIC_DEFAULT_HAIKU_MODEL": target.claude}
    helper = {} if variable is None else {"apiKeyHelper": f"printenv {variable}"}
    return _json({**helper, "env": environment})


def _opencode(target: Target) -> Form:
    variable = target.token_variable
    options = {"baseURL": target.base, "apiKey": UNUSED if variable is None else f"{{env:{variable}}}"}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "arbstr",
        "options": options,
        "models": {model: {"name": model} for model in target.models or (PLACEHOLDER,)},
    }
    return _json(
        {
            "$schema": "https://opencode.ai/config.json",
            "provider": {"arbstr": provider},
            "model": f"arbstr/{target.model}",
        }
    )


def _aider(target: Target) -> Form:
    settings = {
        "openai-api-base": target.base,
        "openai-api-key": UNUSED if target.token_variable is None else None,
        "model": f"openai/{target.model}",
    }
    return Form(yaml_text.render(settings), lambda text: yaml_text.merged(text, settings))


def _llm(target: Target) -> Form:
    items = [
        {
            "model_id": f"arbstr/{model}",
            "model_name": model,
            "api_base": target.base,
            "api_key_name": None if target.token_variable is None else "arbstr",
            "supports_schema": True,
            "supports_tools": True,
        }
        for model in target.models or (PLACEHOLDER,)
    ]
    return Form(yaml_text.render_list(items), lambda text: yaml_text.merged_list(text, items, "model_id"))


def _home(environ: Mapping[str, str], variable: str, otherwise: str) -> Path:
    named = environ.get(variable)
    return Path(named) if named else Path.home() / otherwise


def _opencode_file(environ: Mapping[str, str]) -> Path:
    folder = _home(environ, "XDG_CONFIG_HOME", ".config") / "opencode"
    with_comments = folder / "opencode.jsonc"
    return with_comments if with_comments.exists() else folder / "opencode.json"


def _llm_file(environ: Mapping[str, str]) -> Path:
    if sys.platform == "darwin":
        folder = Path.home() / "Library" / "Application Support" / "io.datasette.llm"
    else:
        folder = _home(environ, "XDG_CONFIG_HOME", ".config") / "io.datasette.llm"
    named = environ.get("LLM_USER_PATH")
    return (Path(named) if named else folder) / "extra-openai-models.yaml"


# --- clients that are programs of one's own, or have their settings elsewhere


def _openai(target: Target) -> Form:
    return _text(f"export OPENAI_BASE_URL={target.base}", f"export OPENAI_API_KEY={target.shell_key}")


def _anthropic(target: Target) -> Form:
    return _text(f"export ANTHROPIC_BASE_URL={target.root}", f"export ANTHROPIC_API_KEY={target.shell_key}")


def _python(target: Target, *lines: str) -> Form:
    """Return a piece of Python, which imports `os` where it takes the token from the environment."""
    return _text(*([] if target.token_variable is None else ["import os", ""]), *lines)


def _langchain(target: Target) -> Form:
    model = f'ChatOpenAI(model="{target.model}", base_url="{target.base}", api_key={target.python_key})'
    return _python(target, "from langchain_openai import ChatOpenAI", "", f"model = {model}")


def _litellm(target: Target) -> Form:
    return _python(
        target,
        "import litellm",
        "",
        "answer = litellm.completion(",
        f'    model="openai/{target.model}",',
        f'    api_base="{target.base}",',
        f"    api_key={target.python_key},",
        '    messages=[{"role": "user", "content": "Hello"}],',
        ")",
    )


def _pydantic_ai(target: Target) -> Form:
    return _python(
        target,
        "from pydantic_ai import Agent",
        "from pydantic_ai.models.openai import OpenAIResponsesModel",
        "from pydantic_ai.providers.openai import OpenAIProvider",
        "",
        f'provider = OpenAIProvider(base_url="{target.base}", api_key={target.python_key})',
        f'agent = Agent(OpenAIResponsesModel("{target.model}", provider=provider))',
    )


def _openai_agents(target: Target) -> Form:
    return _python(
        target,
        "from agents import Agent, set_default_openai_client, set_tracing_disabled",
        "from openai import AsyncOpenAI",
        "",
        f'set_default_openai_client(AsyncOpenAI(base_url="{target.base}", api_key={target.python_key}))',
        "set_tracing_disabled(True)  # traces would go to OpenAI",
        f'agent = Agent(name="Assistant", model="{target.model}")',
    )


def _vercel(target: Target) -> Form:
    return _text(
        'import { createOpenAI } from "@ai-sdk/openai";',
        "",
        f'const arbstr = createOpenAI({{ baseURL: "{target.base}", apiKey: {target.script_key} }});',
        f'const model = arbstr("{target.model}");',
    )


def _continue(target: Target) -> Form:
    variable = target.token_variable
    return _text(
        "models:",
        f"  - name: arbstr {target.model}",
        "    provider: openai",
        f"    model: {target.model}",
        f"    apiBase: {target.base}",
        f"    apiKey: {UNUSED if variable is None else f'${{{{ secrets.{variable} }}}}'}",
    )


def _cline(target: Target) -> Form:
    key = UNUSED if target.token_variable is None else f"the value of {target.token_variable}"
    return _text(
        "API Provider: OpenAI Compatible",
        f"Base URL: {target.base}",
        f"API Key: {key}",
        f"Model ID: {target.model}",
    )


def _curl(target: Target) -> Form:
    token = [] if target.token_variable is None else [f'  -H "Authorization: Bearer ${target.token_variable}" \\']
    return _text(
        f"curl {target.base}/chat/completions \\",
        "  -H 'Content-Type: application/json' \\",
        *token,
        f"""  -d '{{"model": "{target.model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'""",
    )


def _needs_the_variable(target: Target) -> str:
    variable = target.token_variable
    return f"{variable} must be set where it runs" if variable else ""


def _aiders_key(target: Target) -> str:
    variable = target.token_variable
    return f'where it runs, export OPENAI_API_KEY="${variable}"' if variable else ""


def _llms_key(target: Target) -> str:
    variable = target.token_variable
    return f'once, run: llm keys set arbstr --value "${variable}"' if variable else ""


def _continues_key(target: Target) -> str:
    variable = target.token_variable
    return f"it reads {variable} from ~/.continue/.env" if variable else ""


CLIENTS: Sequence[Client] = (
    Client(
        "codex",
        _codex,
        lambda environ: _home(environ, "CODEX_HOME", ".codex") / "config.toml",
        hint=_needs_the_variable,
    ),
    Client(
        "claude-code",
        _claude_code,
        lambda environ: _home(environ, "CLAUDE_CONFIG_DIR", ".claude") / "settings.json",
        hint=_needs_the_variable,
    ),
    Client("opencode", _opencode, _opencode_file, hint=_needs_the_variable),
    Client("aider", _aider, lambda environ: Path.home() / ".aider.conf.yml", hint=_aiders_key),
    Client("llm", _llm, _llm_file, hint=_llms_key),
    Client("openai", _openai, place="your shell's environment"),
    Client("anthropic", _anthropic, place="your shell's environment"),
    Client("langchain", _langchain, place="your program", hint=_needs_the_variable),
    Client("litellm", _litellm, place="your program", hint=_needs_the_variable),
    Client("pydantic-ai", _pydantic_ai, place="your program", hint=_needs_the_variable),
    Client("openai-agents", _openai_agents, place="your program", hint=_needs_the_variable),
    Client("vercel", _vercel, place="your program", hint=_needs_the_variable),
    Client("continue", _continue, place="~/.continue/config.yaml", hint=_continues_key),
    Client("cline", _cline, place="cline's settings in the editor"),
    Client("curl", _curl, place="a shell"),
)
