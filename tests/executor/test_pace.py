"""How much at once, and a link that carries little."""

import asyncio
import itertools
import socket
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from executor_graphs import chain
from unicorn_executor.pace import FIRST, LEAST, MOST, Pace

KB = 1024

STEPS = [
    # name, the size before, what happened (bytes, seconds; None: late), the size after
    ("quick and full", FIRST, (FIRST, 0.2), 2 * FIRST),
    ("quick and not half full", FIRST, (FIRST // 4, 0.01), FIRST),
    ("neither quick nor slow", FIRST, (FIRST, 2.0), FIRST),
    ("slow", FIRST, (FIRST, 5.0), FIRST // 2),
    ("slow, and smaller than it might have been", MOST, (100 * KB, 5.0), 50 * KB),
    ("slow, but no less is possible", FIRST, (10 * KB, 5.0), FIRST),
    ("as much as the protocol allows", MOST, (MOST, 0.1), MOST),
    ("late", FIRST, (FIRST, None), FIRST // 4),
    ("late with the least", LEAST, (LEAST, None), LEAST),
]


@pytest.mark.parametrize(("name", "before", "request_", "after"), STEPS, ids=[row[0] for row in STEPS])
def test_the_next_size(name, before, request_, after):
    pace = Pace()
    pace.size = before
    size, seconds = request_
    if seconds is None:
        pace.late(size)
    else:
        pace.took(size, seconds)
    assert pace.size == after, name


@asynccontextmanager
async def thin(port: int, rate: int):
    """A proxy that takes `rate` bytes a second, of all connections together; its URL."""
    link = asyncio.Lock()

    async def up(reader, writer):
        while data := await reader.read(4 * KB):
            async with link:
                await asyncio.sleep(len(data) / rate)
            writer.write(data)
            await writer.drain()

    async def down(reader, writer):
        while data := await reader.read(64 * KB):
            writer.write(data)
            await writer.drain()

    async def carry(reader, writer):
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            both = [asyncio.ensure_future(up(reader, far_writer)), asyncio.ensure_future(down(far_reader, writer))]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for one in both:
                one.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        finally:
            writer.close()
            far_writer.close()

    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * KB)  # what waits here has not been carried
    listening.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(carry, sock=listening, limit=4 * KB)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.close()


async def test_a_thin_link_carries_logs_values_and_results_and_the_agent_is_heard_meanwhile(start, faults):
    """200 KB/s: what the protocol allows in one request would take 20 s."""
    async with thin(int(faults.url.rsplit(":", 1)[1]), 200_000) as url:
        agent = await start(
            chain(a={"script": "print('x' * 99 + '\\n', end='', flush=True)\nresult = 'y' * 1_500_000"}, b={"run": "echo on"}),
            environment={"UNICORN_GATEWAY": url},
            keep_alive=8.0,
        )
        result = await agent.result(90)
    assert len(result["results"]["a"][0]["value"]) == 1_500_000
    assert await agent.printed("b") == "on\n"
    silences = [after - before for before, after in itertools.pairwise(faults.heard)]
    assert max(silences) < 8.0, f"it counts as lost after 8 s: {sorted(silences)[-3:]}"


async def test_what_does_not_get_through_in_time_is_sent_in_smaller_parts(start, faults):
    """8 KB/s: the first request needs a minute, more than a request may wait for its answer."""
    async with thin(int(faults.url.rsplit(":", 1)[1]), 8_000) as url:
        agent = await start(
            chain(a={"script": "import random, string\nprint(''.join(random.choices(string.ascii_letters, k=150_000)))"}),
            environment={"UNICORN_GATEWAY": url},
        )
        assert (await agent.result(120))["outcome"] == "Success"
    assert len(await agent.printed("a")) == 150_001
    assert Counter(event["kind"] for event in await agent.events())["TaskFinished"] == 1
