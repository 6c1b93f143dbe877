"""Values that a fake provider makes up for a schema fit it, whatever the schema."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from arbstr.mock.json_schema import example

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 3, "maxLength": 30},
        "age": {"type": "integer", "minimum": 18},
        "seats": {"type": "integer", "minimum": -9007199254740991, "exclusiveMinimum": 0},
        "height": {"type": "number", "exclusiveMinimum": 0, "maximum": 3},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2},
        "born": {"type": "string", "format": "date"},
        "nick": {"anyOf": [{"type": "null"}, {"type": "string"}]},
        "alive": {"type": "boolean"},
        "kind": {"const": "person"},
    },
    "required": ["name", "age", "kind"],
    "additionalProperties": False,
}
TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["value", "children"],
        }
    },
}


@pytest.mark.parametrize(
    "schema",
    [
        PERSON,
        TREE,
        {},
        {"type": "object"},
        {"type": ["null", "integer"]},
        {"type": "null"},
        {"type": "integer", "maximum": -5},
        {"oneOf": [{"type": "string"}, {"type": "integer"}]},
        {"allOf": [{"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"required": ["b"]}]},
        {"properties": {"a": {"$ref": "#/definitions/x~1y"}}, "definitions": {"x/y": {"type": "boolean"}}},
        {"type": "object", "required": ["undeclared"]},
        {"items": {"type": "string", "format": "uuid"}},
    ],
)
def test_an_example_fits_its_schema(schema: dict[str, Any]) -> None:
    assert jsonschema_rs.is_valid(schema, example(schema, "word"))


@pytest.mark.parametrize(
    "schema",
    [
        None,
        [],
        "x",
        {"$ref": "#"},
        {"$ref": 5},
        {"$ref": "#/nowhere"},
        {"type": 5},
        {"properties": [], "required": 5},
        {"anyOf": 7},
        {"anyOf": []},
        {"allOf": [1]},
        {"items": [], "minItems": 10**9},
        {"minLength": 10**9},
        {"maxLength": -1},
        {"enum": {}},
    ],
)
def test_nonsense_for_a_schema_is_no_reason_to_fail(schema: Any) -> None:
    example(schema, "word")
