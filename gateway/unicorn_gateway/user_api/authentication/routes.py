"""Login, and whether a token is valid: netunicorn's two routes."""

from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from unicorn_gateway.problems import ProblemError
from unicorn_gateway.user_api.routing import Call, Route, Schema, Version

_FORM = "application/x-www-form-urlencoded"
_FORM_LIMIT = 16 * 1024
_LONGEST_NAME = 128

_CREDENTIALS: Schema = {
    "type": "object",
    "properties": {
        "username": {"type": "string", "minLength": 1, "maxLength": _LONGEST_NAME},
        "password": {"type": "string", "minLength": 1, "maxLength": 1024},
    },
    "required": ["username", "password"],
}
_TOKEN: Schema = {
    "type": "object",
    "properties": {"access_token": {"type": "string"}, "token_type": {"const": "bearer"}},
    "required": ["access_token", "token_type"],
}


async def token(call: Call) -> Any:
    api, address = call.api, call.api.authentication.address_of(call.request)
    with api.arriving.one(address):
        form = _form(call.request, await call.body(_FORM_LIMIT, api.settings.login_body_timeout))
    name, password = form.get("username", ""), form.get("password", "")
    if not name or not password or len(name) > _LONGEST_NAME or "\0" in name:
        raise ProblemError(422, "Invalid", "a form with username and password is needed")
    try:
        issued = await api.authentication.login(name, password, address)
    except ProblemError as problem:
        call.api.metrics.login("TooMany" if problem.status == 429 else "Refused")
        raise
    call.api.metrics.login("Accepted")
    return {"access_token": issued, "token_type": "bearer"}


async def verify_token(call: Call) -> Any:
    """The wrapper of all routes has verified it."""
    return None


def _form(request: web.Request, body: bytes) -> dict[str, str]:
    if request.content_type != _FORM:
        raise ProblemError(422, "Invalid", f"a form is needed: {_FORM}")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=20, errors="strict"))
    except ValueError as error:
        raise ProblemError(422, "Invalid", "the form cannot be read") from error


ROUTES = (
    Route(
        "POST",
        "/api/v1/token",
        token,
        "Log in: a token for 24 hours",
        _TOKEN,
        version=Version.V1,
        body=_CREDENTIALS,
        body_type=_FORM,
        problems={401: "Unauthenticated", 422: "Invalid", 429: "TooManyRequests"},
        authenticated=False,
    ),
    Route("GET", "/api/v1/verify_token", verify_token, "Whether a token is valid", {"type": "null"}, version=Version.V1),
)
