"""The least of an agent: checks in at a gateway, waits for its release, reports success. For benchmarks of the server side."""

import asyncio
import random
import ssl
import uuid
from typing import Any

import aiohttp
from unicorn_core.connector import Gateway

_POLL_SECONDS = 25
_REFUSED, _SUPERSEDED, _BROKEN = 3, 4, 1
_ENDS = {401: _REFUSED, 404: _REFUSED, 410: _SUPERSEDED}
_MOST_SECONDS_BETWEEN_TRIES = 5.0


async def run_noop_agent(gateway: Gateway, token: str) -> int:
    """The exit code that the real agent would end with. Repeats for ever while the gateway cannot be reached."""
    headers = {"Authorization": f"Bearer {token}", "Unicorn-Instance": uuid.uuid4().hex}
    tls = ssl.create_default_context(cadata=gateway.ca_bundle) if gateway.ca_bundle else True
    timeout = aiohttp.ClientTimeout(total=_POLL_SECONDS + 10)
    async with aiohttp.ClientSession(
        gateway.endpoint, headers=headers, timeout=timeout, connector=aiohttp.TCPConnector(ssl=tls, limit=1)
    ) as session:
        while True:
            status, answer = await _ask(session, "GET", f"/v2/executor/assignment?wait={_POLL_SECONDS}")
            if status != 200:
                return _ENDS.get(status, _BROKEN)
            if answer["state"] in ("Cancelled", "Finished"):
                return 0
            if answer["state"] == "Released":
                break
        result = {"outcome": "Success", "lastSequence": answer["nextSequence"] - 1, "results": {}}
        status, _ = await _ask(session, "PUT", "/v2/executor/result", result)
        return 0 if status == 200 else _ENDS.get(status, _BROKEN)


async def _ask(session: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Repeated until there is an answer that is not about overload."""
    pause = 0.1
    while True:
        at_least = 0.0
        try:
            async with session.request(method, path, json=body) as response:
                if response.status not in (429, 500, 502, 503, 504):
                    return response.status, await response.json(content_type=None)
                at_least = float(response.headers.get("Retry-After", 0))
        except (aiohttp.ClientError, TimeoutError, ValueError):
            pass
        await asyncio.sleep(at_least + random.uniform(0.5, 1.0) * pause)  # noqa: S311 jitter
        pause = min(pause * 2, _MOST_SECONDS_BETWEEN_TRIES)
