"""Example values of JSON schemas: arguments for tools and answers in a given format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arbstr.types import JsonObject

_DEEPEST = 6  # levels; a schema that refers to itself ends there
_MOST_REFERENCES = 8  # from one to the next, before a value comes
_LONGEST = 20  # items or characters that a schema may insist on
_BY_FORMAT = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "123e4567-e89b-42d3-a456-426614174000",
}


def example(schema: Any, text: str) -> Any:
    """Return a value that fits the schema; strings without a format of their own say `text`."""
    return _Filler(schema if isinstance(schema, dict) else {}, text).value(schema, _DEEPEST)


class _Filler:
    """Fill one schema; references are resolved from its root."""

    def __init__(self, root: JsonObject, text: str) -> None:
        self._root = root
        self._text = text

    def value(self, schema: Any, depth: int) -> Any:
        """Return a value that fits this part of the schema."""
        if not isinstance(schema, dict):
            return self._text
        schema = self._resolved(schema)
        given = _given(schema)
        if given is not None:
            return given[0]
        kind = _kind(schema)
        if kind in ("object", "array"):
            return self._object(schema, depth) if kind == "object" else self._array(schema, depth)
        scalars = {"integer": int(_number(schema)), "number": _number(schema), "boolean": True, "null": None}
        return scalars[kind] if kind in scalars else self._string(schema)

    def _resolved(self, schema: JsonObject) -> JsonObject:
        """Return the schema with its reference, its first alternative and its `allOf` parts merged in."""
        for _ in range(_MOST_REFERENCES):
            if isinstance(reference := schema.get("$ref"), str):
                schema = {**_without(schema, "$ref"), **self._referred(reference)}
            elif alternatives := schema.get("anyOf") or schema.get("oneOf"):
                schema = {**_without(schema, "anyOf", "oneOf"), **_first(alternatives)}
            elif parts := schema.get("allOf"):
                schema = _merged([_without(schema, "allOf"), *parts])
            else:
                break
        return schema

    def _referred(self, reference: str) -> JsonObject:
        found: Any = self._root
        for part in reference.removeprefix("#").strip("/").split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            found = found.get(name) if isinstance(found, dict) and name else found
        return found if isinstance(found, dict) else {}

    def _object(self, schema: JsonObject, depth: int) -> JsonObject:
        properties = schema.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        required = schema.get("required")
        names = properties if depth > _DEEPEST // 2 else required
        if depth <= 0:
            return {}
        wanted = dict.fromkeys([*(names or ()), *(required if isinstance(required, list) else ())])
        return {name: self.value(properties.get(name, {}), depth - 1) for name in wanted if isinstance(name, str)}

    def _array(self, schema: JsonObject, depth: int) -> list[Any]:
        least = schema.get("minItems")
        count = min(least, _LONGEST) if isinstance(least, int) else int(depth > 1)
        return [self.value(schema.get("items", {}), depth - 1) for _ in range(count if depth > 0 else 0)]

    def _string(self, schema: JsonObject) -> str:
        text = _BY_FORMAT.get(str(schema.get("format")), self._text)
        least, most = schema.get("minLength"), schema.get("maxLength")
        if isinstance(least, int):
            text = text.ljust(min(least, _LONGEST), ".")
        return text[:most] if isinstance(most, int) and most >= 0 else text


def _given(schema: Mapping[str, Any]) -> list[Any] | None:
    """Return the values that the schema itself gives, None if it gives none."""
    for fixed in ("const", "default"):
        if fixed in schema:
            return [schema[fixed]]
    for choices in ("enum", "examples"):
        if isinstance(schema.get(choices), list) and schema[choices]:
            return list(schema[choices])
    return None


def _kind(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if isinstance(kind, str):
        return kind
    return "object" if "properties" in schema else "array" if "items" in schema else "string"


def _number(schema: Mapping[str, Any]) -> float:
    """Return 1, or the number next to it that the schema allows."""
    for key, step in (("minimum", 0), ("exclusiveMinimum", 1)):
        if isinstance(least := schema.get(key), int | float) and least + step > 1:
            return least + step
    most = schema.get("maximum")
    return most if isinstance(most, int | float) and most < 1 else 1


def _first(alternatives: Any) -> JsonObject:
    """Return the first alternative that is not null."""
    schemas = [one for one in alternatives if isinstance(one, dict)] if isinstance(alternatives, list) else []
    return next((one for one in schemas if one.get("type") != "null"), schemas[0] if schemas else {})


def _merged(parts: list[Any]) -> JsonObject:
    merged: JsonObject = {}
    for part in parts:
        if isinstance(part, dict):
            properties = {**merged.get("properties", {}), **part.get("properties", {})}
            required = [*merged.get("required", ()), *part.get("required", ())]
            merged = {**merged, **part, "required": required} | ({"properties": properties} if properties else {})
    return merged


def _without(schema: JsonObject, *keys: str) -> JsonObject:
    return {key: value for key, value in schema.items() if key not in keys}
