"""Large answers, sent to their end while the request still counts: nobody who is being answered has left."""

import asyncio

from aiohttp import Payload, web

from unicorn_gateway.bodies import LEAST_RATE

_LARGE = 64 * 1024  # bytes; what is smaller the system takes at once
_LOOK = 0.02  # seconds between two looks at what it has not taken yet


async def send(request: web.Request, response: web.StreamResponse, seconds: float) -> None:
    """Returns when the system has taken all of it; at once for a small one, which aiohttp sends. Who reads more slowly than the
    least rate, `seconds` aside, is cut off."""
    size = _size(response)
    if size <= _LARGE:
        return
    try:
        async with asyncio.timeout(seconds + size / LEAST_RATE):
            await response.prepare(request)
            await response.write_eof()
            while (transport := request.transport) is not None and transport.get_write_buffer_size():  # noqa: ASYNC110 - no event says so
                await asyncio.sleep(_LOOK)
    except (TimeoutError, ConnectionError):
        response.force_close()
        if request.transport is not None:
            request.transport.abort()


def _size(response: web.StreamResponse) -> int:
    """Bytes of its body."""
    body = response.body if isinstance(response, web.Response) else None
    return (body.size if isinstance(body, Payload) else response.content_length) or 0
