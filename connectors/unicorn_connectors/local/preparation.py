"""Running an environment's shell commands on the node, once."""

import asyncio
import contextlib
import hashlib
import os
import signal
import subprocess
from dataclasses import replace

from unicorn_core.connector import Done, Failed, Order, Outcome, Unknown
from unicorn_core.errors import shorten

from unicorn_connectors.local import processes
from unicorn_connectors.local.directory import ExecutorDirectory, Record, State
from unicorn_connectors.local.launch import start_command

_AT_ONCE = 8  # executors; all of them share this machine


class Preparation:
    def __init__(self, python: str) -> None:
        self._python = python
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._reapers: set[asyncio.Task[int | None]] = set()

    async def run(self, directory: ExecutorDirectory, order: Order) -> Outcome:
        """The executor's directory, then the commands. Repeated, it does nothing; interrupted, it begins again."""
        commands = hashlib.sha256("\0".join(order.shell_commands).encode()).hexdigest()
        known = await asyncio.to_thread(_begin, directory, order, commands)
        if known is not None:
            return known
        if order.shell_commands:  # who has none waits behind nobody's
            async with self._slots:
                for command in order.shell_commands:
                    if failure := await self._run(directory, order, command):
                        return failure
        return await asyncio.to_thread(_finish, directory, commands)

    async def _run(self, directory: ExecutorDirectory, order: Order, command: str) -> Failed | None:
        since = directory.log.stat().st_size if directory.log.exists() else 0
        try:
            child = await asyncio.to_thread(start_command, directory, order, self._python, command)
        except OSError as error:
            return Failed("CommandFailed", f"cannot run {shorten(command, 80)!r}: {error.strerror}")
        except ValueError as error:  # of Popen, for what no process can be given
            return Failed("CommandFailed", f"cannot run {shorten(command, 80)!r}: {error}")
        code = await self._ended(child)
        if code == 0:
            return None
        output = await asyncio.to_thread(directory.log_end, since)
        return Failed("CommandFailed", f"{shorten(command, 80)!r} ended with {code}: {output}")

    async def _ended(self, child: "subprocess.Popen[bytes]") -> int | None:
        waiting = asyncio.create_task(processes.child_ended(child.pid))
        self._reapers.add(waiting)
        waiting.add_done_callback(self._reapers.discard)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            # It is our child and not yet reaped, so that the number is still its own. What has left its group is killed
            # at the beginning of the next try, or by stop.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            raise


def _begin(directory: ExecutorDirectory, order: Order, commands: str) -> Outcome | None:
    """None: run the commands. Kills what an interrupted try has left."""
    with directory.locked(make=True):
        record = directory.record()
        if record and record.state is State.STOPPED:
            return Failed("Superseded", "it was stopped")
        if record and (record.state is State.STARTED or (record.state is State.PREPARED and record.commands == commands)):
            return Done("was prepared before")
        directory.make_home()
        fence = record.fence if record else 0
        directory.write_record(Record(order.handle.node.name, State.PREPARING, fence, commands))
        if record and not processes.kill_all(directory.executor):
            return Unknown("StillRunning", "an interrupted try does not end")
    return None


def _finish(directory: ExecutorDirectory, commands: str) -> Outcome:
    try:
        with directory.locked():
            record = directory.record()
            if record is None or record.state is not State.PREPARING or record.commands != commands:
                return Failed("Superseded", "it was stopped")
            directory.write_record(replace(record, state=State.PREPARED))
    except FileNotFoundError:
        return Failed("Superseded", "it was removed")
    return Done()
