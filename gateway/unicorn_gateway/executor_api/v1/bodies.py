"""Reading reports, which hold all results and all of a log: bounded in memory, and read to their end, for netunicorn's executor
hears no answer before it has sent everything."""

import asyncio
import re
from dataclasses import dataclass

from aiohttp import web

from unicorn_gateway.bodies import require_plain
from unicorn_gateway.executor_api import limits
from unicorn_gateway.problems import ProblemError, malformed

_STATE = re.compile(rb'"state"\s*:\s*(\d)')
_TAIL = 256  # bytes; the state is the last member of what netunicorn's executor sends


@dataclass(frozen=True, slots=True)
class TooLarge:
    """What is known of a body that was thrown away."""

    state: int | None


async def read(request: web.Request, limit: int, seconds: float) -> bytes | TooLarge:
    """`seconds`: for each 4 MiB of it. Raises ProblemError 413 beyond all measure, 415 compressed, 503 late, 400 broken off."""
    require_plain(request)
    size, chunks, tail = 0, list[bytes](), b""
    length = request.content_length if request.content_length is not None else limits.V1_DRAINED
    try:
        async with asyncio.timeout(seconds * (1 + min(length, limits.V1_DRAINED) // limits.BLOB_PART)):
            while chunk := await request.content.readany():
                size += len(chunk)
                tail = (tail + chunk[-_TAIL:])[-_TAIL:]
                if size <= limit:
                    chunks.append(chunk)
                elif size <= limits.V1_DRAINED:
                    chunks.clear()
                else:
                    raise ProblemError(
                        413, "TooLarge", f"the body is over {limits.V1_DRAINED} bytes", headers={"Connection": "close"}
                    )
    except TimeoutError as error:
        headers = {"Retry-After": "1", "Connection": "close"}
        raise ProblemError(503, "Unavailable", "the body did not arrive in time", headers=headers) from error
    except ProblemError:
        raise
    except Exception as error:  # broken transfer or content encoding
        raise malformed(f"the body cannot be read: {type(error).__name__}") from error
    if size <= limit:
        return b"".join(chunks)
    states = _STATE.findall(tail)
    return TooLarge(int(states[-1]) if states else None)
