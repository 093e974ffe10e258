"""Structural schemas for the API server from the models: no $ref, anyOf, oneOf or null; optional is absent."""

from typing import Any

from pydantic import BaseModel

PRESERVE = "x-kubernetes-preserve-unknown-fields"
_DROPPED = ("title", "const", "propertyNames")


def structural_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The OpenAPI v3 schema of a model, as a CustomResourceDefinition takes it."""
    document = model.model_json_schema(by_alias=True, mode="validation")
    return _structural(document, document.get("$defs", {}))


def _structural(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    node = _resolved(node, definitions)
    if node.get("format") == "int64":  # the type's own bounds; beyond what JSON numbers in Go hold exactly
        node = {key: value for key, value in node.items() if key not in ("minimum", "exclusiveMaximum")}
    schema: dict[str, Any] = {}
    for key, value in sorted(node.items()):
        if key in _DROPPED or key == "$defs":
            continue
        if key == "properties":
            value = {name: _structural(part, definitions) for name, part in sorted(value.items())}
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            value = _structural(value, definitions)
        elif key == "additionalProperties":  # false: pruning does it; true: preserve-unknown-fields says it
            continue
        elif key == "description":
            value = " ".join(value.split())
        schema[key] = value
    if node.get("type") == "object" and not schema.keys() & {"properties", "additionalProperties", PRESERVE}:
        schema["properties"] = {}
    if schema.get("type") == "integer":
        schema.setdefault("format", "int64")
    return schema


def _resolved(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """`node` with its reference looked up, its optionality taken off and its own words kept over the definition's."""
    node = dict(node)
    if "anyOf" in node:
        present = [part for part in node.pop("anyOf") if part.get("type") != "null"]
        if len(present) != 1:
            raise TypeError(f"a union of {len(present)} types has no structural schema; write optional siblings")
        node = {**present[0], **node}
        if node.get("default", 0) is None:
            del node["default"]
    if "$ref" in node:
        name = node.pop("$ref").rsplit("/", 1)[-1]
        return _resolved({**definitions[name], **node}, definitions)
    return node
