"""500 no-op experiments at once on the fake connector: experiments a minute of one operator, and its peak memory.

Counted: from the first apply until a watch shows all Succeeded; API server, PostgreSQL, gateway and the client share the machine.
The fake's agents speak the real protocol with the real gateway.
"""

import asyncio
from pathlib import Path

from _installation import installation, table

RUNS, COUNT = 3, 500


async def main() -> None:
    async with installation(pods=False) as here:
        await here.connector("fake", "fake", {"nodes": 0, "elastic": 1000, "agent": "NoOp"})
        await here.run(["warm-up"], "fake", 2)
        rates = []
        for run in range(RUNS):
            names = [f"many-{run}-{index}" for index in range(COUNT)]
            rates.append(COUNT / await here.run(names, "fake", 1) * 60)
            await here.delete(names)
        peak = peak_kib(here.cluster.pids(here.stack.operators[0].name)[0])
        table(
            f"{COUNT} experiments at once",
            [("experiments a minute", rates, "1/min", ">= 1000"), ("the operator's peak memory", [peak / 1024], "MB", "<= 300")],
        )


def peak_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


asyncio.run(main())
