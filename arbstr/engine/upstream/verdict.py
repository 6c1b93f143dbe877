"""Classify a provider's JSON: an answer, or an error in any of the shapes in use.

For refusals, whole responses and the events of streams alike. Never trusts a type, and looks only a few levels deep.

==============================================  ==========================================================
`{"error": {"message", "type", "code"}}`        OpenAI and most others; the value may be a text, a number, `true`
`{"object": "error", "message", "code"}`        older servers; also `"type": "error"`, `"success": false`
`{"message", "type"}`, `{"message", "code"}`    flat, where no answer stands beside it
`[{"error": …}]`, `{"errors": […]}`             in a list
`{"choices": [{"error": …}]}`                   in a choice, or its `finish_reason` "error"
`{"detail": …}`                                 FastAPI: a text, a list of what is wrong with which field, an object
==============================================  ==========================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from arbstr.sanitize import sanitize_clause
from arbstr.types import JsonObject

NO_ANSWER: JsonObject = {"message": "no usable choice"}

_WORDS = ("message", "msg", "detail", "error", "errors", "error_message", "error_msg", "error_description", "title")
_ERRORS = ("error", "errors")
_ANSWERS = ("choices", "output", "content", "data")  # lists with an answer in it, each in one dialect
_NAMES = ("code", "type", "status")
_FLAT = ("code", "type", "status", "status_code", "statusCode", "error_code", "param")  # beside a flat error's message
_DEEPEST = 4
_MOST_NAMED = 3  # of a list of errors, in words
_LARGEST_CODE = 10**9
_LONGEST_SOUGHT = 8192  # characters of a message that are searched: it may be a megabyte

_UNKNOWN_MODEL_CODES = frozenset(
    {
        "invalid_model",
        "model_not_found",
        "model_not_available",
        "model_not_exist",
        "model_not_supported",
        "model_decommissioned",
        "unknown_model",
        "unsupported_model",
        "deploymentnotfound",
    }
)
_UNKNOWN_MODEL = re.compile(
    r"\bmodels?\b(?:(?!\. )[^;\n]){0,160}\b(not found|could not be found|not exist|n't exist|is unknown|unavailable"
    r"|is not available|has been (decommissioned|deprecated|retired))"
    r"|\b(unknown|no such|not a valid|invalid|unrecognized|nonexistent) model\b(?! (input|output|parameter|setting))"
    r"|^\W*((the|this|requested) )*model\b(\W+(?!.?s )\S+)? (is )?(currently )?(not (supported|available)|disabled)\b"
    r"(?! (for|with|when|by|in))"
    r"|\bnot have access to (the |this )?model\b"
    r"|^\W*model: (?=\S*[-/\d])\S+$",
    re.IGNORECASE,
)
# What requests refer to by id, as in `previous_response_id`, and how these ids begin.
_REFERENCES = frozenset(("previous_response_id", "conversation", "prompt", "prompt.id", "file_id", "container"))
_REFERENCE = re.compile(
    r"\b(?:file[-_]|(?:resp|conv|pmpt|vs|container|cntr)_)[A-Za-z]*\d"  # words have no digits
    r"|\bitem\b.{0,20}\b(?:msg|rs|fc)_\w",  # an answer's own id may stand in any error
    re.IGNORECASE,
)
_CONTENT_CODES = frozenset(
    {
        "content_filter",
        "content_policy_violation",
        "content_policy",
        "content_moderation",
        "data_inspection_failed",
        "moderation",
        "moderation_blocked",
        "responsibleaipolicyviolation",
        "safety",
    }
)
_CONTENT = re.compile(
    r"\b(flagged|moderat(ion|ed)|usage polic|jailbreak|content[ _-]?(policy|filter|management|safety|exists risk)"
    r"|safety (system|policy|filter|setting|reason)|(data|content) inspection|risk control"
    r"|(prohibited|inappropriate|unsafe|harmful|sensitive|disallowed|sexual)\b"
    r"|(prompt|input|output|response|request|content) (was|were|is|has been) (filtered|censored)"
    r"|violat\w{1,5} (?:(?!\. )[^;\n]){0,80}\b(policy|policies|guidelines)\b)",
    re.IGNORECASE,
)


def error_of(document: Any) -> JsonObject | None:
    """Return the error that a document is or contains, None if there is none."""
    if isinstance(document, list):
        return next(
            (error for item in document if isinstance(item, dict) and (error := error_of(item)) is not None), None
        )
    if not isinstance(document, dict):
        return None
    for key in _ERRORS:
        if key in document and (error := _as_error(document[key])) is not None:
            return error
    choices = document.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and (error := _error_in_choice(choice)) is not None:
            return error
    return _flat_error(document)


def refusal_of(document: Any) -> JsonObject:
    """Return the error in a document with an error status, possibly empty."""
    return error_of(document) or (document if isinstance(document, dict) else {})


def no_answer(document: Any) -> JsonObject:
    """Return the fault of a response that is neither an error nor an answer, with the provider's words."""
    return {**NO_ANSWER, "message": f"{NO_ANSWER['message']}{_said_instead(document)}"}


def is_end(reason: str) -> bool:
    """Return whether a `finish_reason` says that an answer is complete: a word, and not one that says otherwise."""
    return reason.strip().lower() not in ("", "null", "error")


def says_unknown_model(error: JsonObject) -> bool:
    """Return whether an error says that the provider does not have the model."""
    if any(name.lower() in _UNKNOWN_MODEL_CODES for name in _names(error)):
        return True
    param = error.get("param")
    if isinstance(param, str) and param:
        return param == "model"
    return _UNKNOWN_MODEL.search(words(error)[:_LONGEST_SOUGHT]) is not None


def says_unknown_reference(error: JsonObject) -> bool:
    """Return whether an error says that something else than the model is not there that the request refers to by id."""
    if says_unknown_model(error):
        return False
    param = error.get("param")
    if isinstance(param, str) and param in _REFERENCES:
        return True
    return _REFERENCE.search(words(error)[:_LONGEST_SOUGHT]) is not None


def says_content(error: JsonObject) -> bool:
    """Return whether an error is about the request's content (moderation)."""
    metadata = error.get("metadata")  # OpenRouter's
    if isinstance(metadata, dict) and (metadata.get("flagged_input") or metadata.get("reasons")):
        return True
    if any(name.lower() in _CONTENT_CODES for name in _names(error)):
        return True
    return _CONTENT.search(words(error)[:_LONGEST_SOUGHT]) is not None


def error_summary(
    error: JsonObject, mask: Callable[[str], str] = str, *, default: str = "an error without a message"
) -> str:
    """Return an error's message, fit to stand within a sentence; `mask` hides keys."""
    fit = (sanitize_clause(mask(text)) for text in (words(error), *_names(error)))
    return next(filter(None, fit), default)


def words(error: Any) -> str:
    """Return the message of an error, wherever it is; empty if there is none."""
    return "; ".join(list(_words(error, _DEEPEST))[:_MOST_NAMED])


def _words(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        if value.strip():
            yield value
    elif isinstance(value, list) and depth:
        for item in value[:_MOST_NAMED]:
            yield from _words(item, depth - 1)
    elif isinstance(value, dict) and depth:
        for key in _WORDS:
            if found := list(_words(value.get(key), depth - 1)):
                yield from (f"{_place(value)}{text}" for text in found)
                return


def _place(problem: JsonObject) -> str:
    """Return the field that a problem in FastAPI's shape is about, as `messages.0.role: `."""
    path = problem.get("loc")
    if not isinstance(path, list):
        return ""
    names = [str(part) for part in path[:8] if isinstance(part, str | int) and part != "body"]
    return f"{'.'.join(names)}: " if names else ""


def _names(error: JsonObject) -> Iterator[str]:
    """Yield an error's code, type and status as text."""
    for key in _NAMES:
        name = error.get(key)
        if isinstance(name, str):
            yield name
        elif isinstance(name, int) and not isinstance(name, bool) and abs(name) < _LARGEST_CODE:
            yield str(name)


def _as_error(value: Any) -> JsonObject | None:
    """Return the error under `error`, None if it says nothing (null, false, empty, all its fields empty)."""
    if isinstance(value, dict):
        return value if any(value.values()) else None
    if isinstance(value, list):
        return next((error for item in value if (error := _as_listed(item)) is not None), None)
    if isinstance(value, str):
        return {"message": value} if value.strip() else None
    if value is True:
        return {"message": ""}
    return {"code": value} if isinstance(value, int | float) and value else None


def _as_listed(item: Any) -> JsonObject | None:
    return None if isinstance(item, list) else _as_error(item)


def _error_in_choice(choice: JsonObject) -> JsonObject | None:
    error = _as_error(choice["error"]) if "error" in choice else None
    if error is None and _is_word(choice.get("finish_reason"), "error"):
        return {"message": "finish_reason is 'error'"}
    return error


def _flat_error(document: JsonObject) -> JsonObject | None:
    """Return a document that is itself the error, else None."""
    if document.get("object") == "error" or document.get("type") == "error" or document.get("success") is False:
        return document
    if any(isinstance(document.get(name), list) and document[name] for name in _ANSWERS):
        return None
    if (detail := document.get("detail")) and isinstance(detail, str | list | dict):
        return error_of(detail) or document
    if not document.get("message") or not isinstance(document["message"], str | dict):
        return None
    return document if any(document.get(key) for key in _FLAT) and words(document) else None


def _said_instead(document: Any) -> str:
    text = sanitize_clause(words(document)) if isinstance(document, dict) else ""
    return f": {text}" if text else ""


def _is_word(value: Any, word: str) -> bool:
    return isinstance(value, str) and value.strip().lower() == word
