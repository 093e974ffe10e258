"""Answers that are sent while they are read. Nothing is sent before the first part is there, so that its failure has a status."""

from collections.abc import AsyncIterator

from aiohttp import web

from unicorn_gateway.user_api.routing import Call


async def stream(call: Call, media_type: str, parts: AsyncIterator[bytes], *, name: str = "") -> web.StreamResponse:
    """`name`: of a file that it is to be saved as. A failure later on breaks the connection off: half an answer is none."""
    first = await anext(parts, b"")
    response = web.StreamResponse(
        headers={"Content-Type": media_type, "X-Content-Type-Options": "nosniff", "X-Request-ID": call.id}
    )
    if name:
        response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    await response.prepare(call.request)
    try:
        if first:
            await response.write(first)
        async for part in parts:
            if part:
                await response.write(part)
        await response.write_eof()
    except ConnectionResetError:
        pass  # nobody reads it any more
    except BaseException:
        if call.request.transport is not None:
            call.request.transport.abort()
        raise
    return response
