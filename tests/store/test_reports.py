"""Reports of executors that run serialized graphs."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from unicorn_store import Store, reports

pytestmark = pytest.mark.database


@pytest.fixture
async def executor(store: Store) -> UUID:
    uid, id = uuid4(), uuid4()
    async with store.transaction() as connection:
        await connection.execute(
            "INSERT INTO unicorn.experiment (uid, namespace, name, user_name, attempt, phase, spec, created_at)"
            " VALUES ($1, 'default', 'e', 'u', 1, 'Running', '{}', now())",
            uid,
        )
        await connection.execute(
            "INSERT INTO unicorn.executor (id, experiment_uid, attempt, deployment, index, keep_alive)"
            " VALUES ($1, $2, 1, 'd', 0, $3)",
            id,
            uid,
            timedelta(minutes=10),
        )
    return id


async def test_each_report_replaces_the_one_before_and_the_final_one_stays(store: Store, executor: UUID) -> None:
    async with store.connection() as connection:
        assert await reports.standing(connection, executor) is None
        assert await reports.put_report(connection, executor, b"first", final=False, log_lines=2)
        assert await reports.put_report(connection, executor, b"second", final=False, log_lines=1)
        assert await reports.standing(connection, executor) == reports.Standing(final=False, log_lines=2)
        assert await reports.put_report(connection, executor, b"last\x00\xff", final=True)
        assert not await reports.put_report(connection, executor, b"too late", final=False)
        assert not await reports.put_report(connection, executor, b"again", final=True)
    found = await reports.read_reports(store, [executor, uuid4()])
    assert list(found) == [executor]
    assert (found[executor].content, found[executor].final) == (b"last\x00\xff", True)


async def test_reports_go_with_their_executor(store: Store, executor: UUID) -> None:
    async with store.connection() as connection:
        await reports.put_report(connection, executor, b"x", final=True)
        await connection.execute("DELETE FROM unicorn.executor WHERE id = $1", executor)
        assert await reports.standing(connection, executor) is None
