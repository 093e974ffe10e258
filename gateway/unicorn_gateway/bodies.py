"""Reading what was sent: bounded in size and time, made storable, validated."""

import asyncio
import json
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from unicorn_gateway.problems import ProblemError, malformed

M = TypeVar("M", bound=BaseModel)
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
LEAST_RATE = 4096  # bytes a second, on average: a thin link may take its time, whoever only pretends may not


def patience(elapsed: float, size: int, seconds: float) -> float:
    """How long the next bytes of a body may take, when `size` have come in `elapsed` seconds: `seconds`, and on the whole no
    longer than `seconds` and what the least rate gives. Not positive: too slow."""
    return min(seconds, seconds + size / LEAST_RATE - elapsed)


async def read(request: web.Request, limit: int, seconds: float) -> bytes:
    """The body. Raises ProblemError 413 over `limit` bytes, 415 for a compressed one, 503 when it comes too slowly, 400 when it
    breaks off."""
    require_plain(request)
    if request.content_length is not None and request.content_length > limit:
        raise _too_large(limit)
    if not request.body_exists:
        return b""
    content, chunks, size = request.content, list[bytes](), 0
    try:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(None if content.is_eof() else seconds) as timeout:
            while chunk := await content.readany():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                chunks.append(chunk)
                if not content.is_eof():
                    now = loop.time()
                    timeout.reschedule(now + patience(now - began, size, seconds))
    except TimeoutError as error:
        headers = {"Retry-After": "1", "Connection": "close"}
        raise ProblemError(503, "Unavailable", "the body did not arrive in time", headers=headers) from error
    except ProblemError:
        raise
    except Exception as error:  # broken transfer or content encoding
        raise malformed(f"the body cannot be read: {type(error).__name__}") from error
    return b"".join(chunks)


def require_plain(request: web.Request) -> None:
    """Raises ProblemError 415: what a compressed body takes in memory nobody can say before."""
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise ProblemError(415, "UnsupportedEncoding", "the body must not be compressed", headers={"Connection": "close"})


def parse(body: bytes, model: type[M]) -> M:
    """Raises ProblemError 400. PostgreSQL stores neither NUL characters nor lone surrogates: both become U+FFFD."""
    try:
        if b"\\u0000" not in body:
            return model.model_validate_json(body)
    except ValidationError as error:
        if error.errors(include_url=False, include_context=False, include_input=False)[0]["type"] != "json_invalid":
            raise _invalid(error) from error
    try:
        data = storable(json.loads(body))
        return model.model_validate(data)
    except ValidationError as error:
        raise _invalid(error) from error
    except (ValueError, RecursionError) as error:  # also UnicodeDecodeError
        raise malformed("the body is not JSON in UTF-8") from error


def storable(value: Any) -> Any:
    """The same JSON value, with what PostgreSQL cannot store replaced in its texts."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, list):
        return [storable(item) for item in value]
    if isinstance(value, dict):
        return {storable_text(key): storable(item) for key, item in value.items()}
    return value


def storable_text(text: str) -> str:
    clean = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if not _encodes(text) else text
    return clean.replace("\0", REPLACEMENT)


def require_json(value: Any) -> None:
    """Raises ProblemError 400 for what Python takes and JSON does not know: NaN, Infinity, numbers too large."""
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise malformed("a value is not JSON (NaN, Infinity, too deep)") from error


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _invalid(error: ValidationError) -> ProblemError:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    told = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'body'}: {item['msg']}" for item in problems[:5])
    return malformed(told if len(problems) <= 5 else f"{told}; and {len(problems) - 5} more")


def _too_large(limit: int) -> ProblemError:
    return ProblemError(413, "TooLarge", f"the body is over {limit} bytes", headers={"Connection": "close"})
