"""The agent's HTTP/1.1 over a real socket: what answers it understands, and what it refuses."""

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from unicorn_executor.http1 import LONGEST_LINE, MOST_HEADERS, MOST_INTERIM, Connection, NotHttp, Response

Peer = Callable[[bytes], Connection]
LIMIT = 1000


@pytest.fixture
def peer() -> Iterator[Peer]:
    """`peer(answer)`: a connection to a server that says this, whatever it is asked, and closes."""
    threads, opened = [], []

    def make(answer: bytes) -> Connection:
        server = socket.create_server(("127.0.0.1", 0))
        server.settimeout(10)

        def serve() -> None:
            with server, server.accept()[0] as accepted:
                accepted.settimeout(10)
                with accepted.makefile("rb") as request:
                    while request.readline() not in (b"\r\n", b""):
                        pass
                accepted.sendall(answer)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        port = server.getsockname()[1]
        opened.append(Connection("127.0.0.1", port, f"127.0.0.1:{port}", 10, None))
        return opened[-1]

    yield make
    for connection in opened:
        connection.close()
    for thread in threads:
        thread.join(10)


def asked(connection: Connection, method: str = "GET") -> Response:
    connection.send(method, "/x", {}, None)
    return connection.receive(method, LIMIT)


UNDERSTOOD = [
    # what, method, answer, status, body, the connection can be used again
    ("a length", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, b"{}", True),
    ("no reason", "GET", b"HTTP/1.1 404\r\ncontent-length:0\r\n\r\n", 404, b"", True),
    ("no body", "PUT", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    ("a head", "HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", 200, b"", True),
    ("words before", "PUT", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1", 200, b"1", True),
    (
        "chunks",
        "GET",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\n{ \r\n1\r\n}\r\n0\r\nX: y\r\n\r\n",
        200,
        b"{ }",
        True,
    ),
    ("to the end", "GET", b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>", 502, b"<html>", False),
    ("a last answer", "GET", b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 2\r\n\r\n{}", 200, b"{}", False),
    ("an old proxy", "GET", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, b"{}", False),
    ("bare line ends", "GET", b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}", 200, b"{}", True),
]


@pytest.mark.parametrize(
    ("method", "answer", "status", "body", "keeps"), [row[1:] for row in UNDERSTOOD], ids=[row[0] for row in UNDERSTOOD]
)
def test_answers_that_are_understood(peer: Peer, method: str, answer: bytes, status: int, body: bytes, keeps: bool) -> None:
    response = asked(peer(answer), method)
    assert (response.status, response.body, response.keeps) == (status, body, keeps)


def test_names_of_headers_have_no_case_and_equal_ones_are_joined(peer: Peer) -> None:
    said = asked(peer(b"HTTP/1.1 200 OK\r\nRetry-AFTER:  3 \r\nVia: a\r\nvia: b\r\nContent-Length: 0\r\n\r\n"))
    assert said.headers == {"retry-after": "3", "via": "a, b", "content-length": "0"}


HEAD = b"HTTP/1.1 200 OK\r\n"
REFUSED = [
    ("no HTTP", b"SSH-2.0-OpenSSH_9.2\r\n"),
    ("a version of its own", b"HTTP/2 200 OK\r\n\r\n"),
    ("nothing but interim answers", b"HTTP/1.1 103 Early Hints\r\n\r\n" * (MOST_INTERIM + 1)),
    ("no status", b"HTTP/1.1 OK\r\n\r\n"),
    ("a header without a colon", HEAD + b"nothing\r\n\r\n"),
    ("a header that never ends", HEAD + b"x: " + b"y" * LONGEST_LINE),
    ("headers without end", HEAD + b"x: y\r\n" * (MOST_HEADERS + 1)),
    ("a length that is none", HEAD + b"Content-Length: two\r\n\r\n{}"),
    ("two lengths", HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    ("a length below nothing", HEAD + b"Content-Length: -2\r\n\r\n"),
    ("more than was expected", HEAD + b"Content-Length: 1001\r\n\r\n" + b"x" * 1001),
    ("more than was expected, to the end", HEAD + b"\r\n" + b"x" * 1001),
    (
        "more than was expected, in chunks",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"200\r\n" + b"x" * 512 + b"\r\n200\r\n",
    ),
    ("a chunk without a size", HEAD + b"Transfer-Encoding: chunked\r\n\r\n\r\n"),
    ("a chunk longer than it says", HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n"),
    ("half a body", HEAD + b"Content-Length: 4\r\n\r\n{}"),
    ("half a header", HEAD + b"Content-Len"),
]


@pytest.mark.parametrize("answer", [row[1] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_answers_that_are_refused(peer: Peer, answer: bytes) -> None:
    with pytest.raises(NotHttp):
        asked(peer(answer))


def test_a_connection_that_was_closed_meanwhile_is_an_error_of_the_system(peer: Peer) -> None:
    with pytest.raises(OSError, match="closed without an answer"):
        asked(peer(b""))


@pytest.mark.parametrize(("target", "value"), [("/x y", "v"), ("/x\r\nHost: other", "v"), ("/x", "v\r\nHost: other")])
def test_a_request_cannot_be_made_two(peer: Peer, target: str, value: str) -> None:
    connection = peer(b"")
    with pytest.raises(ValueError, match="control characters"):
        connection.send("GET", target, {"X": value}, None)
    connection.send("GET", "/", {}, None)  # for the server to end
