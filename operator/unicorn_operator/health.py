"""/healthz, /readyz and /metrics, served by the loop that does the work: a loop that hangs does not answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from aiohttp import web
from unicorn_core.errors import Problem, Refused

from unicorn_operator.metrics import Metrics

if TYPE_CHECKING:
    from unicorn_operator.queue import WorkQueue

LONGEST_PASS = timedelta(minutes=5)  # a pass never waits for a node: this is a hang
LONGEST_WAIT = timedelta(minutes=5)  # with workers that are alive the first in the line is served long before


@dataclass
class Health:
    """What the process is doing, told by those who do it."""

    stage: str = "Starting"  # Starting, Standby, Leading, Stopping
    waits_for: dict[str, str] = field(default_factory=dict)  # what is missing for readiness: part -> reason
    queue: "WorkQueue | None" = None

    def waiting(self, part: str, reason: str) -> None:
        self.waits_for[part] = reason

    def has(self, part: str) -> None:
        self.waits_for.pop(part, None)

    def is_ready(self) -> bool:
        return self.stage in ("Standby", "Leading") and not self.waits_for

    def sickness(self) -> str:
        """Why the process should be started anew; empty when it is well."""
        if self.queue is None:
            return ""
        if (span := self.queue.longest_pass()) > LONGEST_PASS:
            return f"a pass has been under way for {span.total_seconds():.0f} s"
        if (span := self.queue.longest_wait()) > LONGEST_WAIT:
            return f"no pass began for {span.total_seconds():.0f} s although one is due"
        return ""


def application(health: Health, metrics: Metrics) -> web.Application:
    async def healthz(_: web.Request) -> web.Response:
        sickness = health.sickness()
        return web.Response(text=sickness or "ok", status=500 if sickness else 200)

    async def readyz(_: web.Request) -> web.Response:
        lines = [health.stage, *(f"waits for {part}: {reason}" for part, reason in sorted(health.waits_for.items()))]
        return web.Response(text="\n".join(lines) + "\n", status=200 if health.is_ready() else 503)

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application(client_max_size=1024)
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", scrape)])
    return app


@asynccontextmanager
async def served(health: Health, metrics: Metrics, host: str, port: int) -> AsyncIterator[int]:
    """Serve until left; yields the port. Raises Refused when the address cannot be listened on."""
    runner = web.AppRunner(application(health, metrics), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        expected = "a free address in UNICORN_HEALTH_HOST and UNICORN_HEALTH_PORT"
        raise Refused(Problem("UNICORN_HEALTH_PORT", f"cannot listen on {host}:{port}: {error.strerror}", expected)) from error
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
