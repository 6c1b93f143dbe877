"""Settings merged into files of several formats: what was there stays, comments too, and what is unclear is left."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.connect import json_text, toml_text, yaml_text
from arbstr.connect.merging import Unmergeable, merge

CODEX = {
    "model": "gpt-4o",
    "model_provider": "arbstr",
    "model_providers": {"arbstr": {"base_url": "http://127.0.0.1:8080/v1", "env_key": None}},
}

TOML = """\
# mine
model = 'o3'  # the best
approval_policy = "never"
notify = [
  "model = 1",
]

# servers
[mcp_servers.docs]
command = "npx"

[model_providers.arbstr]  # local
base_url = "http://old"
env_key = "OLD"
query_params = { a = "b" }

[model_providers.other]
base_url = "http://other"
"""


def test_toml_keeps_its_comments_order_and_other_settings() -> None:
    assert (
        toml_text.merged(TOML, CODEX)
        == """\
# mine
model = "gpt-4o"  # the best
approval_policy = "never"
notify = [
  "model = 1",
]
model_provider = "arbstr"

# servers
[mcp_servers.docs]
command = "npx"

[model_providers.arbstr]  # local
base_url = "http://127.0.0.1:8080/v1"
query_params = { a = "b" }

[model_providers.other]
base_url = "http://other"
"""
    )


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", '[a]\nb = "c"\n', TOML, "x = 1"])
def test_toml_merged_twice_is_as_merged_once(text: str) -> None:
    once = toml_text.merged(text, CODEX)
    assert toml_text.merged(once, CODEX) == once
    assert tomllib.loads(once) == merge(tomllib.loads(text), CODEX)


def test_rendered_toml_is_what_an_empty_file_gets() -> None:
    assert toml_text.render(CODEX) == toml_text.merged("", CODEX)
    assert tomllib.loads(toml_text.render(CODEX)) == merge({}, CODEX)


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        'model_providers = "x"',
        'model_providers = { arbstr = { base_url = "http://old" } }',
        'model_providers.arbstr.base_url = "http://old"',
        'model = """\no3"""',
        "model = 5",
        'x = """\n[a]\n"""\n',
    ],
)
def test_toml_that_lines_do_not_tell_is_left(text: str) -> None:
    with pytest.raises(Unmergeable):
        toml_text.merged(text, CODEX)


CLAUDE = {"env": {"ANTHROPIC_BASE_URL": "http://127.0.0.1:8080", "ANTHROPIC_API_KEY": None}, "apiKeyHelper": "helper"}


def test_json_keeps_its_order_indentation_and_other_settings() -> None:
    text = '{\n    "env": {\n        "A": "é",\n        "ANTHROPIC_API_KEY": "x"\n    },\n    "model": "opus"\n}\n'
    assert json_text.merged(text, CLAUDE) == (
        '{\n    "env": {\n        "A": "é",\n        "ANTHROPIC_BASE_URL": "http://127.0.0.1:8080"\n    },\n'
        '    "model": "opus",\n    "apiKeyHelper": "helper"\n}\n'
    )


@pytest.mark.parametrize("text", ["", "{}", '{"env": {"A": "b"}}', '{\n\t"a": [1, 2.5, null]\n}'])
def test_json_merged_twice_is_as_merged_once(text: str) -> None:
    once = json_text.merged(text, CLAUDE)
    assert json_text.merged(once, CLAUDE) == once
    assert json.loads(once) == merge(json.loads(text or "{}"), CLAUDE)


@pytest.mark.parametrize("text", ["[]", '{"env": []}', '{"a": 1 // mine\n}', '{"a": 1, "a": 2}', "{" * 100_000])
def test_json_that_would_lose_something_is_left(text: str) -> None:
    with pytest.raises(Unmergeable):
        json_text.merged(text, CLAUDE)


AIDER = {"openai-api-base": "http://127.0.0.1:8080/v1", "openai-api-key": None, "model": "openai/gpt-4o"}


def test_yaml_keeps_its_comments_and_other_settings() -> None:
    text = "# mine\nmodel: o3\ndark-mode: true\nopenai-api-key: sk-old\nread:\n  - CONVENTIONS.md"
    assert yaml_text.merged(text, AIDER) == (
        "# mine\nmodel: openai/gpt-4o\ndark-mode: true\nread:\n  - CONVENTIONS.md\n"
        "openai-api-base: http://127.0.0.1:8080/v1\n"
    )


@pytest.mark.parametrize("text", ["", "# mine\n", "model: o3\n", "dark-mode: true"])
def test_yaml_merged_twice_is_as_merged_once(text: str) -> None:
    once = yaml_text.merged(text, AIDER)
    assert yaml_text.merged(once, AIDER) == once


@pytest.mark.parametrize(
    "text", ["{model: o3}", "---\nmodel: o3", "model: >\n  o3", "model: a\nmodel: b", "model:\n- a"]
)
def test_yaml_that_lines_do_not_tell_is_left(text: str) -> None:
    with pytest.raises(Unmergeable):
        yaml_text.merged(text, AIDER)


LLM = [{"model_id": "arbstr/gpt-4o", "model_name": "gpt-4o", "api_key_name": None}]


def test_a_yaml_list_keeps_its_other_items() -> None:
    text = "# mine\n- model_id: other\n  model_name: x\n- model_id: arbstr/gpt-4o\n  model_name: old\n# end\n"
    once = yaml_text.merged_list(text, LLM, "model_id")
    assert once == (
        "# mine\n- model_id: other\n  model_name: x\n- model_id: arbstr/gpt-4o\n  model_name: gpt-4o\n# end\n"
    )
    assert yaml_text.merged_list(once, LLM, "model_id") == once
    assert yaml_text.merged_list("", LLM, "model_id") == yaml_text.render_list(LLM)


@pytest.mark.parametrize("text", ["a: b", "[]", "---\n- a: b"])
def test_yaml_that_is_no_plain_list_is_left(text: str) -> None:
    with pytest.raises(Unmergeable):
        yaml_text.merged_list(text, LLM, "model_id")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("gpt-4o", "gpt-4o"),
        ("http://[::1]:1/v1", '"http://[::1]:1/v1"'),
        ("no", '"no"'),
        ("5", '"5"'),
        ("a: b", '"a: b"'),
    ],
)
def test_yaml_quotes_what_would_be_read_otherwise(value: str, written: str) -> None:
    assert yaml_text.render({"a": value}) == f"a: {written}\n"


KEYS = st.sampled_from(["model", "model_provider", "model_providers", "arbstr", "base_url", "env_key", "x y"])
VALUES = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_nothing_but_the_settings_changes_in_any_table(table: dict[str, Any]) -> None:
    try:
        after = json_text.merged(json.dumps(table), CODEX)
    except Unmergeable:
        return
    assert json.loads(after) == merge(table, CODEX)


@given(st.text(alphabet='[]model_providers.arbstr="x\n #', max_size=60))
def test_any_toml_is_changed_rightly_or_left(text: str) -> None:
    try:
        before = tomllib.loads(text)
        after = toml_text.merged(text, CODEX)
    except (ValueError, Unmergeable):
        return
    assert tomllib.loads(after) == merge(before, CODEX)
