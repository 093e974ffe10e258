"""The OpenAPI document, from the table of routes. `python -m unicorn_gateway.user_api.openapi` prints it."""

import json
import re
import sys
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from unicorn_gateway.problems import MEDIA_TYPE
from unicorn_gateway.user_api.routes import ROUTES
from unicorn_gateway.user_api.routing import Parameter, Route, Schema, Version

_COMMON = {400: "Malformed", 500: "Internal", 503: "Unavailable"}
_WITH_TOKEN = {401: "Unauthenticated", 429: "TooManyRequests"}
_WITH_BODY = {413: "TooLarge", 415: "UnsupportedEncoding"}
_BUSINESS = (403, 404, 409)  # v1 says all of them with 400 and a string
_PROBLEM: Schema = {
    "type": "object",
    "description": "RFC 9457",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "reason": {"type": "string"},
        "requestId": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail", "reason"],
}
_DETAIL: Schema = {"type": "object", "properties": {"detail": {}}, "required": ["detail"]}
_V1_REFUSAL: Schema = {"anyOf": [{"type": "string"}, {"$ref": "#/components/schemas/Detail"}]}


def document() -> dict[str, Any]:
    models = {model for route in ROUTES for model in (route.body, route.answer) if isinstance(model, type)}
    schemas: dict[str, Any] = {}
    if models:
        ordered = sorted(models, key=lambda model: model.__name__)
        _, found = models_json_schema([(model, "validation") for model in ordered], ref_template="#/components/schemas/{model}")
        schemas = found["$defs"]
    paths: dict[str, Any] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "netunicorn-operator: user API",
            "version": version("netunicorn-operator"),
            "description": "netunicorn's mediator v1, records v2 and authentication; docs/user-api.md tells the rest.",
        },
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Problem": _PROBLEM, "Detail": _DETAIL},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    names = re.findall(r"{(\w+)(?::[^}]*)?}", route.path)
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1, "pattern": "^[^/]+$"}}
        for name in names
    ]
    parameters += [_query(one) for one in route.parameters]
    operation: dict[str, Any] = {"summary": route.summary, "operationId": _operation_id(route), "parameters": parameters}
    if route.body is not None:
        operation["requestBody"] = {"required": route.body_required, "content": _content(route.body, route.body_type)}
    operation["responses"] = {"200": {"description": "Done", "content": _content(route.answer)}, **_problems(route)}
    if route.authenticated:
        operation["security"] = [{"token": []}]
    return operation


def _problems(route: Route) -> dict[str, Any]:
    told = {**_COMMON, **(_WITH_TOKEN if route.authenticated else {}), **(_WITH_BODY if route.body is not None else {})}
    told |= route.problems
    if route.version is Version.V1:
        told = {status: reasons for status, reasons in told.items() if status not in _BUSINESS or status in route.problems}
    media = MEDIA_TYPE if route.version is Version.V2 else "application/json"
    return {
        str(status): {"description": reasons, "content": {media: {"schema": _failure(route, status)}}}
        for status, reasons in sorted(told.items())
    }


def _failure(route: Route, status: int) -> Schema:
    if route.version is Version.V2:
        return {"$ref": "#/components/schemas/Problem"}
    return _V1_REFUSAL if status == 400 else {"$ref": "#/components/schemas/Detail"}


def _operation_id(route: Route) -> str:
    return route.method.lower() + "".join(word.capitalize() for word in re.findall(r"[a-z0-9]+", route.path))


def _query(one: Parameter) -> dict[str, Any]:
    return {
        "name": one.name,
        "in": "query",
        "required": one.required,
        "description": one.description,
        "schema": dict(one.schema),
    }


def _content(what: type[BaseModel] | Schema | str, media: str = "application/json") -> dict[str, Any]:
    if isinstance(what, str):
        return {what: {"schema": {"type": "string"}}}
    if isinstance(what, type):
        return {media: {"schema": {"$ref": f"#/components/schemas/{what.__name__}"}}}
    return {media: {"schema": dict(what)}}


def text() -> str:
    return json.dumps(document(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
