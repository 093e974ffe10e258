"""Apply -> Succeeded of 10 no-op executors on the `local` connector, and the API requests of a 1-executor experiment.

Counted: the time from the request that applies the Experiment until a watch shows Succeeded; for the requests, all that the
operator sends to the API server but GET (its own metric counts them), its Lease aside, from apply to the deletion and on until it
has written nothing for as long as it may put off a status: what the experiment changes in TargetNodes and Connectors is counted
with it.
"""

import asyncio
import time

from _installation import Installation, installation, table

RUNS = 5
QUIET = 12.0  # seconds; TargetNodes are written every 10 s at most


async def main() -> None:
    async with installation(pods=False) as here:
        await here.connector("local", "local", {"nodes": 12}, nodes=12)
        await here.run(["warm-up"], "local", 10)
        seconds = [await here.run([f"ten-{index}"], "local", 10) for index in range(RUNS)]
        requests = []
        before = await settled(here)
        for index in range(RUNS):
            await here.run([f"one-{index}"], "local", 1)
            await here.delete([f"one-{index}"])
            after = await settled(here)
            requests.append(after - before)
            before = after
        table(
            "local connector",
            [
                ("apply -> Succeeded, 10 no-op executors", seconds, "s", "<= 2"),
                ("non-GET API requests, 1 executor, apply to deleted", requests, "1", "<= 8"),
            ],
        )


async def settled(here: Installation) -> float:
    """Requests so far, once there were none for QUIET seconds."""
    count, since = -1.0, time.monotonic()
    while time.monotonic() - since < QUIET:
        if (now := written(here.metrics())) != count:
            count, since = now, time.monotonic()
        await asyncio.sleep(0.2)
    return count


def written(metrics: dict[str, float]) -> float:
    return sum(
        value
        for name, value in metrics.items()
        if name.startswith("unicorn_api_requests_total{") and 'method="GET"' not in name and 'resource="leases"' not in name
    )


asyncio.run(main())
