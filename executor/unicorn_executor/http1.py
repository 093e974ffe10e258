"""HTTP/1.1 over one kept-alive connection: as much as the gateway, and an ingress or a proxy before it, speak.

Not http.client: it brings the modules of e-mail and OpenSSL, a quarter of what an agent's start costs its node
(docs/decisions/agent-http.md).
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Optional

if TYPE_CHECKING:
    import ssl

PIECE = 64 * 1024  # bytes handed to the system at once
SEND_BUFFER = 256 * 1024  # what it may hold of them: on its way still when the last piece is handed over
LONGEST_LINE = 64 * 1024
MOST_HEADERS = 100
MOST_INTERIM = 10  # answers of 1xx before the one that counts
_WITHOUT_BODY = (204, 304)


class NotHttp(Exception):
    """The answer is none, breaks off, or is larger than anything that may be said here."""


class Response(NamedTuple):
    status: int
    headers: dict[str, str]  # names in lower case; equal ones joined by commas
    body: bytes
    keeps: bool  # the connection can be used again


class Connection:
    """Opened at once. What it raises: OSError (a time-out is one), NotHttp, ValueError for a request that is none."""

    def __init__(self, host: str, port: int, authority: str, timeout: float, tls: Optional[ssl.SSLContext]) -> None:
        """`authority`: what the header Host says. `timeout`: seconds without a byte; `sock.settimeout` sets another one."""
        # As bytes: a str goes through the codec of international names, which is imported for that.
        name = host.encode("ascii" if host.isascii() else "idna")
        self._authority = authority
        self.sock: socket.socket = socket.create_connection((name, port), timeout)  # type: ignore[arg-type]
        try:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            if tls is not None:
                self.sock = tls.wrap_socket(self.sock, server_hostname=host)
        except BaseException:
            self.sock.close()
            raise
        self._file = self.sock.makefile("rb")

    def close(self) -> None:
        self._file.close()
        self.sock.close()

    def send(self, method: str, target: str, headers: Mapping[str, str], body: Optional[bytes]) -> None:
        length = {} if body is None else {"Content-Length": str(len(body))}
        fields = {"Host": self._authority, **headers, **length}
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        if " " in target or not all(map(str.isprintable, lines)):
            raise ValueError("a request must not have spaces or control characters in its target or headers")
        content = "\r\n".join((*lines, "", "")).encode("latin-1")
        # The time-out of a send is that of all it is given: each piece has its own.
        self.sock.sendall(content + (body or b"")[:PIECE])
        for start in range(PIECE, len(body or b""), PIECE):
            self.sock.sendall((body or b"")[start : start + PIECE])

    def receive(self, method: str, limit: int) -> Response:
        """The answer to a request of this method. `limit`: bytes of its body."""
        for _ in range(MOST_INTERIM + 1):
            version, status = self._status()
            headers = self._headers()
            if status >= 200:
                break
        else:
            raise NotHttp(f"more than {MOST_INTERIM} interim answers")
        keeps = version == "HTTP/1.1" and "close" not in headers.get("connection", "").lower()
        length = headers.get("content-length")
        if method == "HEAD" or status in _WITHOUT_BODY:
            return Response(status, headers, b"", keeps)
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return Response(status, headers, self._chunks(limit), keeps)
        if length is not None:
            return Response(status, headers, self._exactly(_number(length, 10, limit)), keeps)
        body = self._file.read(limit + 1)  # to the connection's end
        _number(str(len(body)), 10, limit)
        return Response(status, headers, body, False)

    def _status(self) -> tuple[str, int]:
        line = self._file.readline(LONGEST_LINE)
        if not line:
            raise ConnectionResetError("closed without an answer")
        version, _, rest = line.decode("latin-1").partition(" ")
        status = rest[:3]
        if not version.startswith("HTTP/1.") or not status.isdecimal() or not 100 <= int(status) < 600:
            raise NotHttp(f"the answer begins with {line[:50]!r}")
        return version, int(status)

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for _ in range(MOST_HEADERS):
            line = self._line()
            if not line:
                return headers
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon:
                raise NotHttp(f"a header is {line[:50]!r}")
            name, value = name.strip().lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        raise NotHttp(f"the answer has more than {MOST_HEADERS} headers")

    def _chunks(self, limit: int) -> bytes:
        body = bytearray()
        while size := _number(self._line().partition(b";")[0].decode("latin-1"), 16, limit - len(body)):
            body += self._exactly(size)
            if self._line():
                raise NotHttp("a chunk is longer than it says")
        self._headers()  # the trailers
        return bytes(body)

    def _exactly(self, size: int) -> bytes:
        content = self._file.read(size)
        if len(content) < size:
            raise NotHttp(f"the answer broke off after {len(content)} of {size} bytes")
        return content

    def _line(self) -> bytes:
        line = self._file.readline(LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise NotHttp("the answer broke off, or has a line that is too long")
        return line.rstrip(b"\r\n")


def _number(text: str, base: int, limit: int) -> int:
    try:
        number = int(text, base)
    except ValueError:
        raise NotHttp(f"a length is {text[:50]!r}") from None
    if not 0 <= number <= limit:
        raise NotHttp(f"the answer has {number} bytes, more than is ever said here, or fewer than none")
    return number
