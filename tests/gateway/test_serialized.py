"""A serialized graph goes to our agent as it was uploaded; its reports are kept as they came."""

import asyncio
import hashlib
import io
import socket
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta

import pytest
from gateway_parts import eventually
from unicorn_gateway import sending
from unicorn_store import graphs, reports

pytestmark = pytest.mark.database

PICKLE = b"\x80\x05 any bytes \x00\xff"
DIGEST = hashlib.sha256(PICKLE).hexdigest()


@pytest.fixture
async def agent(gateway, operator):
    """Its deployment's graph is a serialized one."""
    await graphs.put_graph(operator.store, "default", PICKLE)
    (executor,) = await operator.experiment(graph={"serialized": {"sha256": DIGEST}}, report_results=False)
    async with operator.store.connection() as connection:
        await connection.execute("UPDATE unicorn.snapshot SET graph_namespace = 'default', graph_sha256 = $1", DIGEST)
    agent = gateway.agent(executor)
    agent.executor = executor
    return agent


async def the_report(operator):
    rows = await operator.all("SELECT executor_id FROM unicorn.executor_report")
    found = await reports.read_reports(operator.store, [row["executor_id"] for row in rows])
    return [(report.content, report.final) for report in found.values()]


async def upload(agent, content):
    digest = hashlib.sha256(content).hexdigest()
    answer = await agent.call("PUT", f"/v2/executor/blobs/{digest}?offset=0&size={len(content)}", data=content)
    assert answer.body == {"offset": len(content), "complete": True}
    return digest


async def test_the_graph(agent, operator):
    answer = await agent.check_in()
    assert answer.body["graph"] == {"serialized": {"sha256": DIGEST}, "reportResults": False}
    assert answer.body["executor"]["experimentUid"] == str(await operator.one("SELECT uid FROM unicorn.experiment"))
    answer = await agent.call("GET", "/v2/executor/graph")
    assert (answer.status, answer.body) == (200, PICKLE)


async def test_there_is_none_for_other_graphs(gateway, operator):
    (executor,) = await operator.experiment()
    agent = gateway.agent(executor)
    assert (await agent.call("GET", "/v2/executor/graph")).status == 410  # not checked in
    await agent.check_in()
    assert (await agent.call("GET", "/v2/executor/graph")).status == 404


async def test_reports_so_far_replace_each_other(agent, operator):
    await agent.check_in()
    for content in (b"one", b"two"):
        answer = await agent.call("PUT", "/v2/executor/report", data=content)
        assert (answer.status, answer.body) == (200, {"stored": True})
    assert await the_report(operator) == [(b"two", False)]
    assert (await agent.call("PUT", "/v2/executor/report", data=b"")).status == 400
    assert (await agent.call("PUT", "/v2/executor/report", data=io.BytesIO(b"x" * (4 * 1024 * 1024 + 1)))).status == 413


async def test_the_final_report_is_a_blob_that_the_result_names(agent, operator):
    await agent.check_in()
    await agent.call("PUT", "/v2/executor/report", data=b"so far")
    content = b"x" * (5 * 1024 * 1024)
    half = 3 * 1024 * 1024
    digest = hashlib.sha256(content).hexdigest()
    await agent.call("PUT", f"/v2/executor/blobs/{digest}?offset=0&size={len(content)}", data=io.BytesIO(content[:half]))
    answer = await agent.finish(report=digest)
    assert (answer.status, answer.reason) == (400, "Malformed")
    assert await the_report(operator) == [(b"so far", False)]
    await agent.call("PUT", f"/v2/executor/blobs/{digest}?offset={half}&size={len(content)}", data=io.BytesIO(content[half:]))
    for _ in range(2):  # a repeat changes nothing
        assert (await agent.finish(report=digest)).body == {"state": "Succeeded"}
    assert await the_report(operator) == [(content, True)]
    assert await operator.one("SELECT count(*) FROM unicorn.blob") == 0
    assert await operator.one("SELECT blob_bytes FROM unicorn.executor") == 0
    assert (await agent.call("PUT", "/v2/executor/report", data=b"late")).body == {"stored": False}
    assert await the_report(operator) == [(content, True)]


async def test_what_comes_after_the_end_changes_no_report(agent, operator):
    await agent.check_in()
    await agent.call("PUT", "/v2/executor/report", data=b"so far")
    digest = await upload(agent, b"final")
    await operator.set(agent.executor, state="Cancelled", finished_at=datetime.now(UTC))
    assert (await agent.finish(report=digest)).body == {"state": "Cancelled"}
    assert (await agent.call("PUT", "/v2/executor/report", data=b"late")).body == {"stored": False}
    assert await the_report(operator) == [(b"so far", False)]


@pytest.fixture
def slow_reader():
    """One for an agent."""
    with ExitStack() as stack:
        yield lambda agent: stack.enter_context(closing(SlowReader(agent)))


class SlowReader:
    """Asks for the graph, and reads it when it is told to."""

    def __init__(self, agent):
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * 1024)
        self._socket.setblocking(False)
        self._agent = agent

    async def ask(self):
        loop, agent = asyncio.get_running_loop(), self._agent
        await loop.sock_connect(self._socket, ("127.0.0.1", int(agent.url.rsplit(":", 1)[1])))
        headers = f"Host: x\r\nAuthorization: Bearer {agent.token}\r\nUnicorn-Instance: {agent.instance}\r\n"
        await loop.sock_sendall(self._socket, f"GET /v2/executor/graph HTTP/1.1\r\n{headers}\r\n".encode())
        return await loop.sock_recv(self._socket, 4096)

    async def read(self):
        content = b""
        while data := await asyncio.get_running_loop().sock_recv(self._socket, 1024 * 1024):
            content += data
        return content

    def close(self):
        self._socket.close()


async def slow_readers(start, operator, content, **settings):
    """The gateway, and two executors with this graph."""
    gateway = await start(**settings)
    digest = hashlib.sha256(content).hexdigest()
    await graphs.put_graph(operator.store, "default", content)
    executors = await operator.experiment(2, graph={"serialized": {"sha256": digest}})
    async with operator.store.connection() as connection:
        await connection.execute("UPDATE unicorn.snapshot SET graph_namespace = 'default', graph_sha256 = $1", digest)
    agents = [gateway.agent(executor) for executor in executors]
    for agent in agents:
        await agent.check_in()
    return gateway, agents


LARGE = b"\x80\x05" + bytes(15 * 1024 * 1024)


async def test_graphs_that_are_being_sent_are_limited(start, operator, slow_reader):
    _, (one, two) = await slow_readers(start, operator, LARGE, downloads_in_flight=1)
    reader = slow_reader(one)
    first = await reader.ask()
    assert first.startswith(b"HTTP/1.1 200")
    refused = await two.call("GET", "/v2/executor/graph")
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    reading = asyncio.create_task(reader.read())

    async def served():
        return (await two.call("GET", "/v2/executor/graph")).status == 200

    await eventually(served)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def test_stopping_waits_for_graphs_that_are_being_sent(start, operator, slow_reader):
    gateway, (one, _) = await slow_readers(start, operator, LARGE, stop_timeout=timedelta(seconds=60))
    reader = slow_reader(one)
    first = await reader.ask()
    gateway.stop.set()
    await asyncio.sleep(1.5)  # longer than it waits for what is done
    assert not gateway.task.done()
    head, _, content = (first + await reader.read()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert content == LARGE
    await gateway.task


async def test_who_does_not_read_is_cut_off(start, operator, slow_reader, monkeypatch):
    monkeypatch.setattr(sending, "LEAST_RATE", 10**9)
    _, (one, two) = await slow_readers(start, operator, LARGE, body_timeout=timedelta(seconds=0.5), downloads_in_flight=1)
    reader = slow_reader(one)
    await reader.ask()

    async def served():
        return (await two.call("GET", "/v2/executor/graph")).status == 200

    await eventually(served)
