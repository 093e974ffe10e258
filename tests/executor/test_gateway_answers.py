"""The agent's HTTP: what counts as an answer of the gateway, over a socket that says it byte by byte."""

import hashlib
import socket
import threading

import pytest
from conftest import reaches
from executor_graphs import chain
from unicorn_executor.gateway import Gateway, Reply, Unavailable, require_ours
from unicorn_executor.settings import Settings

PROBLEM = {"type": "about:blank", "title": "Not Found", "status": 404, "reason": "NotFound"}


class Server:
    """Answers each request with the next of `answers`, then is silent."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.requests: list[bytes] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            while request := connection.recv(65536):
                self.requests.append(request)
                if not self.answers:
                    continue
                answer = self.answers.pop(0)
                connection.sendall(answer)
                if b"cut" in answer:
                    return

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def gateway_client(server):
    gateway = Gateway(Settings(server.url, "token"), "0" * 32)
    yield gateway
    gateway.close()


def answer(body: bytes, status: str = "200 OK", length: int | None = None) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {length or len(body)}\r\n\r\n".encode() + body


OURS = [
    # status, document, JSON is due, it is the gateway's
    (200, {"state": "Waiting"}, True, True),
    (200, None, True, False),
    (200, "logged in", True, False),
    (200, None, False, True),
    (302, None, True, False),
    (302, None, False, False),
    (404, PROBLEM, True, True),
    (404, PROBLEM, False, True),
    (404, None, True, False),
    (404, {"message": "no Route matched"}, True, False),
    (401, None, True, False),
    (403, None, True, False),
    (410, None, True, False),
    (400, None, True, True),
    (413, None, True, True),
    (502, None, True, True),
]


@pytest.mark.parametrize(("status", "document", "has_json", "is_ours"), OURS)
def test_what_the_gateway_said(status, document, has_json, is_ours):
    reply = Reply(status, {}, document)
    if is_ours:
        require_ours(reply, has_json=has_json)
        return
    with pytest.raises(Unavailable):
        require_ours(reply, has_json=has_json)


CUT = [
    ("in a body of known length", answer(b'{"cut": ', length=100)),
    ("in a chunk", b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{"cut": '),
    ("where it is JSON by chance", answer(b'{"cut": 1}', length=100)),
    ("in the headers", b"HTTP/1.1 200 OK\r\nX: cut"),
]


@pytest.mark.parametrize(("where", "first"), CUT, ids=[row[0] for row in CUT])
def test_an_answer_that_is_cut_is_asked_for_again(server, gateway_client, where, first):
    server.answers = [first, answer(b'{"whole": true}')]
    assert gateway_client.call("GET", "/x").document == {"whole": True}, where


def test_a_graph_that_is_cut_is_asked_for_again(server, gateway_client):
    content = b"\x80\x04" + b"cut" * 1000
    server.answers = [answer(content[:1000], length=len(content)), answer(content)]
    reply = gateway_client.call("GET", "/v2/executor/graph", opaque=True)
    assert hashlib.sha256(reply.content).digest() == hashlib.sha256(content).digest()


def test_a_kept_connection_that_falls_silent_is_not_waited_for_twice(server, gateway_client):
    """Also where Python's socket.timeout is no TimeoutError (3.9)."""
    server.answers = [answer(b"{}")]
    gateway_client.call("GET", "/x")
    with pytest.raises(Unavailable):
        gateway_client._once("GET", "/y", None, 0.3)
    assert len(server.requests) == 2


async def test_a_foreign_404_ends_nothing(start, faults, workdir):
    agent = await start(chain(a={"run": "while ! test -e go; do sleep 0.02; done; echo x"}))
    await agent.sees("TaskStarted")
    faults.answer(404, "", times=2)
    (workdir / "go").touch()
    await reaches(lambda: agent.said("the answer 404 is not the gateway's"))
    assert (await agent.result())["outcome"] == "Success"
    assert await agent.printed("a") == "x\n"
