"""LISTEN: news come, a lost connection is made again and said, an error in a callback is not swallowed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from unicorn_devcluster.postgres import Postgres
from unicorn_store import Store, listen

pytestmark = pytest.mark.database


class Listener:
    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []
        self.connects = 0
        self.losses: list[Exception] = []
        self._changed = asyncio.Event()

    def on_news(self, channel: str, payload: str) -> None:
        self.heard.append((channel, payload))
        self._changed.set()

    def on_connect(self) -> None:
        self.connects += 1
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def listening(dsn: str) -> AsyncIterator[Listener]:
    listener = Listener()
    task = asyncio.create_task(
        listen(
            dsn,
            ["unicorn_a", "unicorn_b"],
            heard=listener.on_news,
            on_connect=listener.on_connect,
            on_loss=listener.losses.append,
        )
    )
    try:
        yield listener
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def tell(store: Store, *news: tuple[str, str]) -> None:
    async with store.transaction() as connection:
        for channel, payload in news:
            await connection.execute("SELECT pg_notify($1, $2)", channel, payload)


async def test_news_of_a_transaction_come_once(store: Store) -> None:
    async with listening(store.dsn) as listener:
        await listener.until(lambda: listener.connects == 1)
        await tell(store, ("unicorn_a", "1"), ("unicorn_a", "1"), ("unicorn_other", "2"), ("unicorn_b", "3"))
        await listener.until(lambda: len(listener.heard) >= 2)
        assert listener.heard == [("unicorn_a", "1"), ("unicorn_b", "3")]


async def test_a_restart_is_survived_and_said(postgres: Postgres, store: Store) -> None:
    async with listening(store.dsn) as listener:
        await listener.until(lambda: listener.connects == 1)
        await asyncio.to_thread(postgres.restart)
        await listener.until(lambda: listener.connects == 2)
        await tell(store, ("unicorn_b", "again"))
        await listener.until(lambda: bool(listener.heard))
        assert listener.losses


async def test_an_error_in_a_callback_ends_it(store: Store) -> None:
    connected = asyncio.Event()

    def fails(channel: str, payload: str) -> None:
        raise ZeroDivisionError

    task = asyncio.create_task(listen(store.dsn, ["unicorn_a"], heard=fails, on_connect=connected.set))
    await connected.wait()
    await tell(store, ("unicorn_a", ""))
    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(10):
            await task
