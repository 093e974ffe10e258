"""News from PostgreSQL: LISTEN on a connection of its own. News may be lost with a connection; polling repairs."""

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import asyncpg

from unicorn_store import dsn as dsns
from unicorn_store.failures import translate
from unicorn_store.pool import settings

_PROBE_SECONDS = 15.0
_PATIENCE_SECONDS = 5.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0


async def listen(
    dsn: str,
    channels: Iterable[str],
    *,
    heard: Callable[[str, str], None],
    on_connect: Callable[[], None],
    on_loss: Callable[[Exception], None] = lambda error: None,
    application_name: str = "unicorn-listen",
) -> NoReturn:
    """Call `heard(channel, payload)` for each notification, until cancelled.

    `on_connect` is called at each (re)connection, after LISTEN: whatever was told before may have been missed, so the caller
    looks at everything again. `on_loss` is told why the connection went, or could not be made; the next try follows
    after a jittered back-off. Callbacks must not block; an error in one ends the listening. Raises Refused for a malformed DSN.
    """
    dsn, names, pause = dsns.check(dsn), list(channels), _SHORTEST_PAUSE
    while True:
        try:
            await _listen_once(dsn, names, heard, on_connect, application_name)
        except _Lost as lost:
            pause = _SHORTEST_PAUSE if lost.was_connected else min(pause * 2, _LONGEST_PAUSE)
            on_loss(lost.error)
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311


class _Lost(Exception):
    def __init__(self, error: Exception, was_connected: bool) -> None:
        super().__init__(str(error))
        self.error, self.was_connected = error, was_connected


async def _listen_once(
    dsn: str, channels: list[str], heard: Callable[[str, str], None], on_connect: Callable[[], None], application_name: str
) -> None:
    gone, failures = asyncio.Event(), []

    def on_news(_connection: Any, _pid: int, channel: str, payload: object) -> None:
        try:
            heard(channel, str(payload))
        except Exception as error:  # asyncpg would only log it
            failures.append(error)
            gone.set()

    connection: Any = None
    connected = False
    try:
        connection = await asyncpg.connect(
            dsn, timeout=_PATIENCE_SECONDS, command_timeout=_PATIENCE_SECONDS, server_settings=settings(application_name)
        )
        connection.add_termination_listener(lambda _: gone.set())
        for channel in channels:
            await connection.add_listener(channel, on_news)
        connected = True
    except Exception as error:
        if connection is not None:
            connection.terminate()
        raise _Lost(_ours(error), connected) from error
    try:
        on_connect()
        while not gone.is_set():
            try:
                async with asyncio.timeout(_PROBE_SECONDS):
                    await gone.wait()
            except TimeoutError:
                await _probe(connection)  # a connection that was cut without a word
        if failures:
            raise failures[0]
        raise _Lost(ConnectionError("the connection was closed"), True)
    finally:
        connection.terminate()


async def _probe(connection: Any) -> None:
    try:
        await connection.execute("SELECT 1")
    except Exception as error:
        raise _Lost(_ours(error), True) from error


def _ours(error: Exception) -> Exception:
    ours = translate(error)
    if ours is None:
        raise error
    return ours
