"""The pool: what comes in and out, and which error is ours."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from unicorn_core.errors import Broken, Refused, StoreUnavailable
from unicorn_devcluster.postgres import Postgres
from unicorn_store import Store, connect

pytestmark = pytest.mark.database


async def test_values_survive(store: Store) -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    async with store.connection() as connection:
        row = await connection.fetchrow(
            "SELECT $1::jsonb AS json, $2::timestamptz AS at, $3::interval AS span", {"a": [1, None, "ü"]}, now, timedelta(days=1)
        )
    assert dict(row) == {"json": {"a": [1, None, "ü"]}, "at": now, "span": timedelta(days=1)}
    assert row["at"].utcoffset() == timedelta(0)


async def test_not_a_number_is_not_json(store: Store) -> None:
    with pytest.raises((ValueError, Broken)):
        async with store.connection() as connection:
            await connection.fetchval("SELECT $1::jsonb", float("nan"))


async def test_a_transaction_is_rolled_back_by_an_error(store: Store) -> None:
    async def fails() -> None:
        async with store.transaction() as connection:
            await connection.execute("UPDATE unicorn.restoration SET observed_at = now()")
            raise KeyError

    with pytest.raises(KeyError):
        await fails()
    async with store.connection() as connection:
        assert await connection.fetchval("SELECT observed_at FROM unicorn.restoration") is None


async def test_errors_are_ours(store: Store) -> None:
    with pytest.raises(Broken, match="42601") as caught:
        async with store.connection() as connection:
            await connection.execute("SELEC 1")
    assert not isinstance(caught.value, StoreUnavailable)
    assert isinstance(caught.value.__cause__, asyncpg.PostgresSyntaxError)
    for statement in ("SELECT * FROM unicorn.not_migrated_yet", "SET LOCAL statement_timeout = 1; SELECT pg_sleep(5)"):
        with pytest.raises(StoreUnavailable):
            async with store.transaction() as connection:
                await connection.execute(statement)


async def test_a_deadlock_may_be_tried_again(store: Store) -> None:
    async with store.connection() as connection:
        await connection.execute("CREATE TABLE unicorn.pair (v int); INSERT INTO unicorn.pair VALUES (1), (2)")
    met = asyncio.Barrier(2)

    async def lock(first: int, second: int) -> None:
        async with store.transaction() as connection:
            await connection.execute("UPDATE unicorn.pair SET v = v WHERE v = $1", first)
            await met.wait()
            await connection.execute("UPDATE unicorn.pair SET v = v WHERE v = $1", second)

    outcomes = await asyncio.gather(lock(1, 2), lock(2, 1), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if outcome] == [StoreUnavailable]


async def test_a_restart_is_survived(postgres: Postgres, store: Store) -> None:
    async with store.connection() as connection:
        await connection.execute("SELECT 1")
    await asyncio.to_thread(postgres.stop)
    try:
        with pytest.raises(StoreUnavailable):
            async with store.connection() as connection:
                await connection.execute("SELECT 1")
    finally:
        await asyncio.to_thread(Postgres.start, postgres.directory)
    async with store.connection() as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_no_free_connection_is_said(migrated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unicorn_store.pool.ACQUIRE_TIMEOUT", timedelta(milliseconds=50))
    store = await connect(migrated, application_name="unicorn-test", max_size=1)
    try:
        async with store.connection():
            with pytest.raises(StoreUnavailable):
                async with store.connection():
                    pass
    finally:
        await store.close()


async def test_connecting(postgres: Postgres) -> None:
    with pytest.raises(Refused, match="UNICORN_DATABASE_URL"):
        await connect("", application_name="unicorn-test")
    away = "postgresql://u:p@127.0.0.1:1/x"
    with pytest.raises(StoreUnavailable):
        await connect(away, application_name="unicorn-test", min_size=1)
    lazy = await connect(away, application_name="unicorn-test")
    with pytest.raises(StoreUnavailable):
        async with lazy.connection():
            pass
    await lazy.close()
    with pytest.raises(Broken, match="password"):
        await connect(f"postgresql://postgres:wrong@127.0.0.1:{postgres.port}/postgres", application_name="t", min_size=1)
