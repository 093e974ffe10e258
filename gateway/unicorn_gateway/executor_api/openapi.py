"""The OpenAPI document, from the table of routes. `python -m unicorn_gateway.executor_api.openapi` prints it."""

import json
import re
import sys
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from unicorn_gateway.executor_api import messages
from unicorn_gateway.executor_api.route import Query, Route
from unicorn_gateway.executor_api.routes import ROUTES
from unicorn_gateway.problems import MEDIA_TYPE

_COMMON = {400: "Malformed", 429: "TooManyRequests", 500: "Internal", 503: "Unavailable"}
_WITH_TOKEN = {
    401: "Unauthenticated",
    404: "NotFound",
    408: "Malformed: the body did not arrive",
    410: "InstanceSuperseded, Revoked",
}
_PATH = {
    "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "name": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[^/\\x00-\\x1f\\x7f]+$"},
    "token": {"type": "string", "pattern": "^[A-Za-z0-9._-]+$", "description": "the executor's token"},
    "experiment": {"type": "string", "format": "uuid"},
}


def document() -> dict[str, Any]:
    models = {model for route in ROUTES for model in (route.body, route.answer) if isinstance(model, type)} | {messages.Problem}
    _, definitions = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)],
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, Any] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "netunicorn-operator: executor API",
            "version": version("netunicorn-operator"),
            "description": "What an executor and the gateway say to each other; docs/executor-protocol.md tells the rest.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": _PATH[name]} for name in re.findall(r"{(\w+)}", route.path)
    ]
    parameters += [_query(query) for query in route.queries]
    problems = {**_COMMON, **({415: "UnsupportedEncoding"} if route.body is not None else {}), **route.problems}
    if route.token:
        problems = {**_WITH_TOKEN, **problems}
    if route.token and not route.token_in_path:
        schema = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
        parameters.append({"name": "Unicorn-Instance", "in": "header", "required": True, "schema": schema})
    operation: dict[str, Any] = {"summary": route.summary, "operationId": _operation_id(route), "parameters": parameters}
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": _content(route.body)}
    responses: dict[str, Any] = {"200": {"description": "Done", **({"content": _content(route.answer)} if route.answer else {})}}
    if route.path == "/executor.pyz":
        responses["304"] = {"description": "Not modified"}
        problems[404] = "NotFound"
    problem = {} if route.method == "HEAD" else {"content": {MEDIA_TYPE: {"schema": _reference(messages.Problem)}}}
    responses |= {str(status): {"description": reasons, **problem} for status, reasons in sorted(problems.items())}
    for status, meaning in route.others.items():
        response = responses.setdefault(str(status), {"description": meaning})
        if status >= 400:  # beside the problem document
            response["description"] += f"; {meaning}"
            response["content"] = {**response["content"], "application/json": {"schema": {"type": "null"}}}
    operation["responses"] = responses
    if route.token and not route.token_in_path:
        operation["security"] = [{"token": []}]
    return operation


def _operation_id(route: Route) -> str:
    words = "".join(word.capitalize() for word in re.findall(r"[a-z0-9]+", route.path))
    return route.method.lower() + words + ("Slash" if route.path.endswith("/") else "")


def _query(query: Query) -> dict[str, Any]:
    number = {"type": "integer", "minimum": query.lowest, "maximum": query.highest}
    schema = {"type": "string"} if query.text else number
    return {"name": query.name, "in": "query", "required": query.required, "description": query.description, "schema": schema}


def _content(what: type[BaseModel] | str) -> dict[str, Any]:
    if isinstance(what, str):
        return {kind: {"schema": {} if kind == "application/json" else {"type": "string"}} for kind in what.split(", ")}
    return {"application/json": {"schema": _reference(what)}}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def text() -> str:
    return json.dumps(document(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
