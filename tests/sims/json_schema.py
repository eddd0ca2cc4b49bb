"""As much of JSON Schema, draft 7, as the scenarios' schema uses; any other word is an error."""

import re
from collections.abc import Callable
from typing import Any, Final

_TYPES: Final[dict[str, Callable[[Any], bool]]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}
_ANNOTATIONS: Final = ("$schema", "title", "description", "default", "definitions")

# A word says nothing of values of another type than its own.
_BOUNDS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "minimum": lambda value, bound: not _TYPES["number"](value) or value >= bound,
    "maximum": lambda value, bound: not _TYPES["number"](value) or value <= bound,
    "exclusiveMinimum": lambda value, bound: not _TYPES["number"](value) or value > bound,
    "minItems": lambda value, bound: not isinstance(value, list) or len(value) >= bound,
    "maxItems": lambda value, bound: not isinstance(value, list) or len(value) <= bound,
    "minProperties": lambda value, bound: not isinstance(value, dict) or len(value) >= bound,
    "pattern": lambda value, bound: not isinstance(value, str) or bool(re.search(bound, value)),
    "required": lambda value, names: not isinstance(value, dict) or set(names) <= set(value),
    "enum": lambda value, known: value in known,
    "const": lambda value, only: value == only,
    "uniqueItems": lambda value, _: not isinstance(value, list) or _are_unique(value),
}


def _are_unique(values: list[Any]) -> bool:
    return all(value not in values[:index] for index, value in enumerate(values))


def is_valid(value: Any, schema: dict[str, Any], root: dict[str, Any] | None = None) -> bool:
    """Whether ``value`` is as ``schema`` has it. Raise KeyError for a word that is not known."""
    root = schema if root is None else root
    if "$ref" in schema:
        *_, name = schema["$ref"].split("/")
        return is_valid(value, root["definitions"][name], root)
    return all(_holds(value, schema, word, said, root) for word, said in schema.items())


def _holds(value: Any, schema: dict[str, Any], word: str, said: Any, root: dict[str, Any]) -> bool:
    if word in _ANNOTATIONS:
        return True
    if word in ("anyOf", "oneOf"):
        fitting = sum(is_valid(value, each, root) for each in said)
        return fitting == 1 if word == "oneOf" else fitting > 0
    if word == "type":
        return _TYPES[said](value)
    if word == "items":
        return not isinstance(value, list) or all(is_valid(each, said, root) for each in value)
    if word in ("properties", "additionalProperties", "propertyNames"):
        return not isinstance(value, dict) or _has_properties(value, schema, word, said, root)
    return _BOUNDS[word](value, said)


def _has_properties(
    value: dict[str, Any], schema: dict[str, Any], word: str, said: Any, root: dict[str, Any]
) -> bool:
    known = schema.get("properties", {})
    if word == "properties":
        return all(is_valid(value[key], said[key], root) for key in value if key in known)
    if word == "propertyNames":
        return all(is_valid(key, said, root) for key in value)
    others = [value[key] for key in value if key not in known]
    return not others if said is False else all(is_valid(each, said, root) for each in others)
