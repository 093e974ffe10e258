"""The process: settings, limits, what is no HTTP, TLS, several side by side, and its graceful end."""

import asyncio
import json
import os
import signal
import socket
import ssl
import sys
import time
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from cryptography import x509
from gateway_parts import eventually, signed
from unicorn_gateway import bodies
from unicorn_gateway.rates import Bucket

pytestmark = pytest.mark.database


def test_a_bucket():
    bucket = Bucket()
    assert [bucket.take(0.0, rate=2, burst=3) for _ in range(4)] == [0, 0, 0, 0.5]
    assert bucket.take(0.4, 2, 3) == pytest.approx(0.1)
    assert bucket.take(0.5, 2, 3) == 0
    assert [bucket.take(100.0, 2, 3) for _ in range(4)] == [0, 0, 0, 0.5], "never more than the burst"


async def test_the_rate_of_one_executor_is_limited(start, operator):
    gateway = await start(requests_per_second=1, request_burst=5)
    one, two = await operator.experiment(2)
    agent = gateway.agent(one)
    answers = [await agent.check_in(wait=0) for _ in range(10)]
    limited = [answer for answer in answers if answer.status == 429]
    assert limited
    assert limited[0].reason == "TooManyRequests"
    assert int(limited[0].headers["Retry-After"]) >= 1
    assert (await gateway.agent(two).check_in(wait=0)).status == 200, "the others do not suffer"


async def test_too_many_requests_at_once(start, operator):
    gateway = await start(requests_in_flight=2)
    executors = await operator.experiment(6)
    agents = [gateway.agent(executor) for executor in executors]
    await asyncio.gather(*(agent.check_in() for agent in agents))
    gate = asyncio.Event()

    async def slow():
        yield b'{"first": 1, '
        await gate.wait()
        yield b'"events": []}'

    under_way = [asyncio.create_task(agent.call("POST", "/v2/executor/events", data=slow())) for agent in agents[:2]]

    async def refused():
        answer = await agents[5].send(1)
        return answer.status == 503 and answer.headers["Retry-After"] == "1"

    await eventually(refused)
    gate.set()
    assert [(await task).status for task in under_way] == [200, 200]
    assert (await agents[5].send(1)).status == 200
    waiting = [asyncio.create_task(agent.call("GET", "/v2/flags/x?wait=1&version=0")) for agent in agents]
    assert {(await task).status for task in waiting} == {200}, "those that only wait do not count"


async def raw(port, content, seconds=10):
    """What comes back until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(content)
        async with asyncio.timeout(seconds):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    "content",
    [
        b"\x16\x03\x01\x02\x00",
        b"GET nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v2/executor/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
    ],
)
async def test_what_is_no_http(gateway, content):
    answer = await raw(int(gateway.url.rsplit(":", 1)[1]), content)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400") or head.startswith(b"HTTP/1.0 400")
    assert b"application/problem+json" in head
    assert json.loads(body)["reason"] == "Malformed"


async def test_the_slow_are_cut_off(start, operator):
    gateway = await start(body_timeout=timedelta(seconds=0.3), idle_timeout=timedelta(seconds=0.5))
    port = int(gateway.url.rsplit(":", 1)[1])
    assert await raw(port, b"") == b"", "says nothing"
    assert await raw(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ") == b"", "never ends its headers"
    (executor,) = await operator.experiment()
    agent = gateway.agent(executor)
    await agent.check_in()
    head = (
        f"POST /v2/executor/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {agent.token}\r\n"
        f"Unicorn-Instance: {agent.instance}\r\nContent-Length: 50\r\n\r\n{{"
    )
    answer = await raw(port, head.encode(), 20)
    assert answer.startswith(b"HTTP/1.1 503"), "never ends its body"


async def test_what_is_expected(gateway, operator):
    port = int(gateway.url.rsplit(":", 1)[1])
    head = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: {}\r\n\r\n"
    assert (await raw(port, head.format("100-continue").encode())).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")
    answer, _, body = (await raw(port, head.format("the impossible").encode())).partition(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 417")
    assert json.loads(body)["reason"] == "Malformed"


PATIENCE = [
    # name, seconds so far, bytes so far, for how long the next may take
    ("nothing yet", 0.0, 0, 30.0),
    ("a good rate", 10.0, 1_000_000, 30.0),
    ("below the least rate", 40.0, 20 * 4096, 10.0),
    ("a byte now and then", 30.5, 3, -0.5),
    ("as fast as it must be", 130.0, 100 * 4096, 0.0),
]


@pytest.mark.parametrize(("name", "elapsed", "size", "expected"), PATIENCE, ids=[row[0] for row in PATIENCE])
def test_how_long_the_next_bytes_of_a_body_may_take(name, elapsed, size, expected):
    assert bodies.patience(elapsed, size, 30.0) == pytest.approx(expected, abs=0.01), name


async def test_a_body_over_a_thin_link_is_waited_for_and_a_trickle_is_not(start, operator):
    gateway = await start(body_timeout=timedelta(seconds=0.5))
    (executor,) = await operator.experiment()
    agent = gateway.agent(executor)
    await agent.check_in()

    async def slow(size):
        yield b'{"first": 1, "events": ['
        for _ in range(10):
            await asyncio.sleep(0.15)
            yield b" " * size
        yield b"]}"

    assert (await agent.call("POST", "/v2/executor/events", data=slow(2000))).status == 200, "three times as long, but it comes"
    assert (await agent.call("POST", "/v2/executor/events", data=slow(1))).status == 503


async def test_stopping_answers_those_who_wait(start, operator):
    gateway = await start()
    one, two = await operator.experiment(2, release_on_check_in=False)
    agent = gateway.agent(one)
    other = gateway.agent(two)
    await other.check_in(wait=0)
    waiting = asyncio.create_task(agent.check_in(wait=60))
    flag = asyncio.create_task(other.call("GET", "/v2/flags/f?wait=60&version=0"))
    await asyncio.sleep(0.3)
    began = time.monotonic()
    gateway.stop.set()
    answer = await waiting
    assert (answer.status, answer.body) == (200, {"state": "Waiting"})
    assert answer.headers["Connection"] == "close"
    assert (await flag).body["version"] == 0
    await gateway.task
    assert time.monotonic() - began < 10


def environment(dsn, tmp_path, **more):
    return {
        "PATH": os.environ["PATH"],
        "UNICORN_DATABASE_URL": dsn,
        "UNICORN_TOKEN_PUBLIC_KEYS": str(tmp_path / "keys" / "public.json"),
        "UNICORN_EXECUTOR_LISTEN": "127.0.0.1:0",
        **more,
    }


@asynccontextmanager
async def process(env):
    """A gateway process; it is gone afterwards, whatever happened."""
    command = [sys.executable, "-m", "unicorn_gateway", "executor"]
    running = await asyncio.create_subprocess_exec(*command, env=env, stderr=asyncio.subprocess.PIPE)
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()


async def listening(running):
    """Its address, from its log."""
    async with asyncio.timeout(30):
        while line := await running.stderr.readline():
            if json.loads(line)["event"] == "listening":
                return json.loads(line)["address"]
    raise AssertionError("it ended")


async def test_sigterm_ends_it_in_time_with_what_is_under_way(migrated, keys, tmp_path, operator, gateway):
    agent = gateway.agent((await operator.experiment())[0])
    gate = asyncio.Event()

    async def slow():
        yield b'{"first": 1, "events": [{"kind": "LogDropped", "wall": 1, "mono": 1,'
        await gate.wait()
        yield b'"chunks": 1, "bytes": 1}]}'

    async with process(environment(migrated, tmp_path)) as running:
        agent.url = await listening(running)
        await agent.check_in()
        under_way = asyncio.create_task(agent.call("POST", "/v2/executor/events", data=slow()))
        await asyncio.sleep(0.3)
        began = time.monotonic()
        running.send_signal(signal.SIGTERM)
        while json.loads(await running.stderr.readline())["event"] != "stopping":
            pass
        gate.set()
        assert (await under_way).body["stored"] == 1
        await running.stderr.read()
        assert await running.wait() == 0
        assert time.monotonic() - began < 10


async def test_two_processes_share_a_port(migrated, keys, tmp_path, operator, gateway):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = environment(migrated, tmp_path, UNICORN_EXECUTOR_LISTEN=f"127.0.0.1:{port}", UNICORN_REUSE_PORT="true")
    async with process(env) as one, process(env) as two:
        await listening(one)
        await listening(two)
        for executor in await operator.experiment(6):
            agent = gateway.agent(executor)
            agent.url = f"http://127.0.0.1:{port}"
            assert (await agent.check_in()).body["state"] == "Released"
            close = {"Connection": "close"}  # so that each request may reach another process
            for n in range(1, 6):
                body = {"first": n, "events": [{"kind": "LogDropped", "wall": 1, "mono": 1, "chunks": 1, "bytes": 1}]}
                answer = await agent.call("POST", "/v2/executor/events", json=body, headers=close)
                assert answer.body["stored"] == n
                assert (await agent.send(n + 1)).status == 200
        for running in (one, two):
            running.terminate()
            await running.stderr.read()
            assert await running.wait() == 0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"UNICORN_DATABASE_URL": None}, "UNICORN_DATABASE_URL: it is not set; write postgresql://"),
        ({"UNICORN_DATABASE_URL": "mysql://u:secret@h/d"}, "UNICORN_DATABASE_URL: not a postgresql:// URL"),
        ({"UNICORN_TOKEN_PUBLIC_KEYS": None}, "UNICORN_TOKEN_PUBLIC_KEYS: it is not set"),
        ({"UNICORN_TOKEN_PUBLIC_KEYS": "/nowhere"}, "UNICORN_TOKEN_PUBLIC_KEYS: there is no such file"),
        ({"UNICORN_TOKEN_PUBLIC_KEYS": "/etc/passwd"}, "not JSON"),
        ({"UNICORN_AGENT": "/nowhere"}, "UNICORN_AGENT: there is no such file"),
        ({"UNICORN_EXECUTOR_LISTEN": "here"}, "UNICORN_EXECUTOR_LISTEN: not HOST:PORT"),
        ({"UNICORN_EXECUTOR_LISTEN": "192.0.2.1:1"}, "UNICORN_EXECUTOR_LISTEN: cannot listen on 192.0.2.1:1"),
        ({"UNICORN_TLS_CERTIFICATE": "/etc/passwd"}, "belong together"),
        ({"UNICORN_TLS_CERTIFICATE": "/etc/passwd", "UNICORN_TLS_KEY": "/etc/passwd"}, "cannot be used"),
        ({"UNICORN_BODY_TIMEOUT": "soon"}, "UNICORN_BODY_TIMEOUT: 'soon' is not a duration"),
    ],
)
async def test_a_wrong_setting_is_one_readable_line(keys, tmp_path, wrong, says):
    env = {**environment("postgresql://u:secret@127.0.0.1:1/d", tmp_path), **wrong}
    async with process({name: value for name, value in env.items() if value is not None}) as running:
        told = (await running.stderr.read()).decode()
        assert await running.wait() == 2, told
    assert told.count("\n") == 1
    assert says in told
    assert "secret" not in told


async def test_it_waits_for_a_database_that_is_not_there_yet(keys, tmp_path, operator, gateway):
    async with process(environment("postgresql://u:secret@127.0.0.1:1/d", tmp_path)) as running:
        address = await listening(running)
        async with gateway.http.get(address + "/readyz") as response:
            assert response.status == 503
            assert "secret" not in await response.text()
        running.terminate()
        told = await running.stderr.read()
        assert await running.wait() == 0
    assert b"secret" not in told
    assert b"Traceback" not in told


async def test_tls(start, operator, tmp_path):
    certificate = self_signed(tmp_path)
    gateway = await start(tls_certificate=tmp_path / "tls.crt", tls_key=tmp_path / "tls.key")
    assert gateway.url.startswith("https://")
    (executor,) = await operator.experiment()
    agent = gateway.agent(executor)
    trust = ssl.create_default_context(cadata=certificate)
    answer = await agent.call("GET", "/v2/executor/assignment?wait=0", ssl=trust)
    assert answer.body["state"] == "Released"
    assert signed(gateway.key, executor)


def self_signed(directory):
    """tls.crt and tls.key for 127.0.0.1; returns the certificate."""
    from datetime import UTC, datetime
    from ipaddress import ip_address

    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (directory / "tls.crt").write_bytes(pem)
    form = serialization.PrivateFormat.PKCS8
    (directory / "tls.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return pem.decode()


async def test_metrics(gateway, operator):
    (executor,) = await operator.experiment()
    agent = gateway.agent(executor)
    await agent.check_in()
    await agent.send(1)
    async with gateway.http.get(gateway.url + "/metrics") as response:
        text = await response.text()
    assert 'unicorn_gateway_requests_total{route="POST /v2/executor/events",status="200"} 1.0' in text
    assert "unicorn_gateway_heartbeats_total 1.0" in text
    assert "unicorn_gateway_sessions 1.0" in text
