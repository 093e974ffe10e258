"""The CPU that an executor of one no-op task costs its node, all of its processes together: ours and netunicorn's, in turns.

Ours is the zipapp, netunicorn's comes from PyPI, as in task_gap. Both are run by the interpreter of its environment, and speak
plain HTTP to a double of their gateway on this machine, whose CPU is not counted. Medians, and the spread.
"""

import asyncio
import contextlib
import os
import resource
import statistics
import tempfile
from collections.abc import Awaitable
from pathlib import Path

import task_gap
from executor_graphs import chain
from fake_gateway import FakeGateway
from unicorn_devcluster import wheels
from unicorn_executor import processes

ROUNDS = 20


async def ours(agent: Path, interpreter: Path) -> float:
    gateway = FakeGateway()
    await gateway.start()
    token = await gateway.assign(chain(one={"script": "result = None"}))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "token").write_text(token)  # noqa: ASYNC240 nobody waits for it
        places = {"UNICORN_TOKEN_FILE": f"{folder}/token", "UNICORN_SPOOL": f"{folder}/spool", "UNICORN_WORKDIR": folder}
        settings = {"UNICORN_GATEWAY": gateway.url, **places}
        spent = await counted(task_gap.run([interpreter, agent], settings, folder))
    await gateway.stop()
    return spent


async def counted(run: Awaitable[object]) -> float:
    """Milliseconds of the processes that this starts, when all of them have ended."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    await run
    await asyncio.to_thread(wait_for_all)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def wait_for_all() -> None:
    """Also for what outlives its parent for a moment: that is our child then."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


async def main() -> None:
    processes.adopt_orphans()
    agent, interpreter = wheels.agent_file(), task_gap.their_interpreter()
    graph = task_gap.their_graph("python", 1, interpreter)
    mine, other = [], []
    for _ in range(ROUNDS):
        mine.append(await ours(agent, interpreter))
        other.append(await counted(task_gap.run_theirs(graph, interpreter)))
    print(f"CPU of an executor of one no-op task, median of {ROUNDS} (lowest..highest), ms")
    print(f"ours {task_gap.shown(mine)}; netunicorn-executor 0.4.2 {task_gap.shown(other)}")
    print(f"times less: {statistics.median(other) / statistics.median(mine):.1f}")


if __name__ == "__main__":
    asyncio.run(main())
