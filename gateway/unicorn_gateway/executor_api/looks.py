"""The looks that waiting requests share: at a flag, and at a barrier, which opens by being looked at."""

from dataclasses import dataclass

from unicorn_store import Store
from unicorn_store import executor_gateway as rows
from unicorn_store import flags as store
from unicorn_store.flags import Barrier, Flag, FlagKey


@dataclass(frozen=True, slots=True)
class Meeting:
    flag: FlagKey
    number: int  # from 1


async def at_flag(pool: Store, key: FlagKey) -> Flag:
    async with pool.connection() as connection:
        return await store.read(connection, key)


async def at_barrier(pool: Store, meeting: Meeting) -> Barrier:
    """Who is there; opens it when nobody is missing. Once open it stays so, whoever comes or goes."""
    async with pool.transaction() as connection:
        barrier = await store.look(connection, meeting.flag, meeting.number)
        if barrier.opened is not None or barrier.arrived < barrier.members:
            return barrier
        await store.open_barrier(connection, meeting.flag, meeting.number, barrier.members)
        await rows.tell(connection, "flag", meeting.flag.experiment)
        return Barrier(barrier.members, barrier.arrived, barrier.members)
