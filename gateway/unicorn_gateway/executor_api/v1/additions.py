"""Additions to flags: those that arrive while others are being written go together, in one statement."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from unicorn_core.errors import StoreUnavailable
from unicorn_store import Store, flags
from unicorn_store.flags import FlagKey, Writer

from unicorn_gateway.executor_api import limits
from unicorn_gateway.executor_api.flag_requests import out_of_range, too_many_flags
from unicorn_gateway.problems import ProblemError

_KNOWN = 100_000
_Asked = dict[tuple[Writer, FlagKey], list[tuple[int, asyncio.Future[None]]]]


@dataclass(eq=False)
class Additions:
    """None of them is lost or applied twice: each waits for the commit, and is answered with what became of it."""

    store: Store
    _waiting: _Asked = field(default_factory=lambda: defaultdict(list))
    _task: asyncio.Task[None] | None = None
    _known: set[FlagKey] = field(default_factory=set)  # flags that are there: they need no room

    async def add(self, writer: Writer, key: FlagKey, amount: int) -> None:
        """Returns when it is stored. Raises ProblemError 410, 422; StoreUnavailable, Broken."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[writer, key].append((amount, future))
        if self._task is None:
            self._task = asyncio.create_task(self._write_waiting())
        await asyncio.shield(future)

    async def _write_waiting(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting, defaultdict(list)
            sums = {place: sum(amount for amount, _ in those) for place, those in asked.items()}
            errors = await self._write(sums)
            for place, those in asked.items():
                for _, future in those:
                    _settle(future, errors.get(place))
        self._task = None

    async def _write(self, sums: Mapping[tuple[Writer, FlagKey], int]) -> Mapping[tuple[Writer, FlagKey], Exception]:
        """Returns what went wrong. An addition that cannot be written takes no others with it."""
        try:
            full = await self._without_room(dict.fromkeys(key for _, key in sums))
            wanted = {place: amount for place, amount in sums.items() if place[1] not in full}
            async with self.store.transaction() as connection:
                added = await flags.add(connection, wanted)
        except StoreUnavailable as error:
            return dict.fromkeys(sums, error)
        except Exception as error:
            if len(sums) == 1:
                return dict.fromkeys(sums, error)
            one_by_one = [await self._write({place: amount}) for place, amount in sums.items()]
            return {place: error for errors in one_by_one for place, error in errors.items()}
        self._remember(added.flags)
        errors = dict[tuple[Writer, FlagKey], Exception]()
        for writer, key in sums:
            if key in full:
                errors[writer, key] = too_many_flags()
            elif writer.executor not in added.writers:
                errors[writer, key] = ProblemError(410, "Revoked", "another start or instance of this executor runs")
            elif key not in added.flags:
                errors[writer, key] = out_of_range()
        return errors

    async def _without_room(self, keys: Iterable[FlagKey]) -> set[FlagKey]:
        """Those that are new to an attempt that has all the flags it may have."""
        new = defaultdict[tuple[UUID, int], list[FlagKey]](list)
        for key in keys:
            if key not in self._known:
                new[key.experiment, key.attempt].append(key)
        full = set[FlagKey]()
        for of_attempt in new.values():
            async with self.store.connection() as connection:
                room = limits.FLAGS - await flags.count(connection, of_attempt[0])
                there = await flags.existing(connection, of_attempt)
            full.update([key for key in of_attempt if key not in there][max(0, room) :])
        return full

    def _remember(self, keys: Iterable[FlagKey]) -> None:
        if len(self._known) > _KNOWN:
            self._known.clear()
        self._known.update(keys)


def _settle(future: asyncio.Future[None], error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
        future.exception()  # whoever asked may have gone
