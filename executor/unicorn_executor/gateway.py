"""The gateway over HTTP: one kept-alive connection, minimal headers, and the protocol's table of errors."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from unicorn_executor.compact import encode
from unicorn_executor.http1 import Connection, NotHttp
from unicorn_executor.pace import LEAST, Pace
from unicorn_executor.say import say
from unicorn_executor.settings import Settings

TIMEOUT = 15.0  # seconds without a byte until a connection counts as dead; a long poll adds its wait
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 30.0
LARGEST_REPLY = 64 * 1024 * 1024
ABOUT_THE_REQUEST = (400, 413)  # whoever says so: less at once may get through
_TIMEOUTS = (TimeoutError, socket.timeout)  # two until Python 3.10


class GatewayError(Exception):
    """Nothing more can be said to this gateway by this executor."""


class Refused(GatewayError):
    """401, or 404 of the executor itself: exit code 3."""


class Superseded(GatewayError):
    """410: exit code 4."""


class Stopped(GatewayError):
    """The caller asked to stop while the call was waiting."""


class Faulty(GatewayError):
    """The agent itself cannot go on sending: exit code 1."""


class Unavailable(Exception):
    """No answer. Worth repeating. `is_late`: there was a connection, and nothing went through for too long."""

    def __init__(self, message: str, *, is_late: bool = False) -> None:
        super().__init__(message)
        self.is_late = is_late


class TooMuch(Exception):
    """The body did not get through in time: the caller sends less of it at once (`Gateway.pace`)."""


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]  # names in lower case
    document: Any  # parsed JSON, or None
    content: bytes = b""

    @property
    def reason(self) -> str:
        return str(self.document.get("reason", "")) if isinstance(self.document, dict) else ""

    def describe(self) -> str:
        """Status, reason and detail in one line."""
        detail = self.document.get("detail", "") if isinstance(self.document, dict) else ""
        return " ".join(str(part) for part in (self.status, self.reason, detail) if part)[:500]


class Gateway:
    """To be used by one thread at a time; `stop` may come from another one and ends a call that waits."""

    def __init__(self, settings: Settings, instance: str) -> None:
        self._settings = settings
        self._instance = instance
        self._url = urllib.parse.urlsplit(settings.gateway)
        self._connection: Optional[Connection] = None
        self._stop = threading.Event()
        self.pace = Pace()
        self.longest_pause = LONGEST_PAUSE  # between two tries, seconds; shorter where more silence would count as loss

    def another(self) -> Gateway:
        """The same gateway over a connection of its own."""
        other = Gateway(self._settings, self._instance)
        other.pace, other.longest_pause = self.pace, self.longest_pause
        return other

    def stop(self) -> None:
        self._stop.set()
        connection = self._connection
        if connection is not None:
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # not connected any more

    def call(
        self, method: str, path: str, body: Any = None, *, wait: float = 0.0, opaque: bool = False, divisible: bool = False
    ) -> Reply:
        """Repeats until there is an answer that repeating would not change.

        `body`: bytes as they are, else sent as JSON. `wait`: how long the gateway may hold the request, seconds.
        `opaque`: the answer need not be JSON. `divisible`: the caller can send less at once, and is told so with TooMuch.
        Gives any reply of the gateway below 500 but 401, 410 and 429, and a foreign one about the request itself (400, 413).
        Raises Refused, Superseded, Stopped.
        """
        content = body if isinstance(body, (bytes, type(None))) else encode(body)
        failures = 0
        while True:
            began = time.monotonic()
            try:
                reply = self._once(method, path, content, TIMEOUT + wait)
                if method != "HEAD":  # its errors have no words
                    require_ours(reply, has_json=not opaque)
                if content is not None and reply.status == 200:
                    self.pace.took(len(content), time.monotonic() - began)
            except Unavailable as error:
                if error.is_late and divisible and content is not None and len(content) > LEAST:
                    self.pace.late(len(content))
                    raise TooMuch from error
                if not failures:
                    say(f"{self._settings.gateway} cannot be reached ({error}): trying until it can")
                self._pause(pause_after(failures, self.longest_pause))
            else:
                if reply.status == 401:
                    raise Refused(reply.describe())
                if reply.status == 410:
                    raise Superseded(reply.describe())
                if reply.status != 429 and reply.status < 500:
                    return reply
                least = retry_after(reply) * random.uniform(1.0, 1.5)  # noqa: S311
                self._pause(max(least, pause_after(failures, self.longest_pause)))
            failures += 1

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Stopped

    def _once(self, method: str, path: str, content: Optional[bytes], timeout: float) -> Reply:
        """One request; repeated at once where a kept-alive connection turned out to be closed. Raises Unavailable, Stopped."""
        fresh = self._connection is None
        while True:
            if self._stop.is_set():
                raise Stopped
            try:
                return self._exchange(method, path, content, timeout)
            except (OSError, NotHttp, ValueError) as error:
                is_late = isinstance(error, _TIMEOUTS)
                is_connected = self._connection is not None
                self.close()
                if fresh or is_late:
                    raise Unavailable(f"{type(error).__name__}: {error}", is_late=is_late and is_connected) from error
                fresh = True

    def _exchange(self, method: str, path: str, content: Optional[bytes], timeout: float) -> Reply:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._connect(timeout)
        connection.sock.settimeout(timeout)
        # An idle heartbeat with all of its headers must stay below 600 bytes: nothing that is not needed.
        headers = {"Authorization": f"Bearer {self._settings.token}", "Unicorn-Instance": self._instance}
        connection.send(method, self._url.path + path, headers, content)
        response = connection.receive(method, LARGEST_REPLY)
        if not response.keeps:
            self.close()
        return Reply(response.status, response.headers, _parsed(response.body), response.body)

    def _connect(self, timeout: float) -> Connection:
        port = self._url.port or (443 if self._url.scheme == "https" else 80)
        authority = self._url.netloc.rpartition("@")[2]
        return Connection(self._url.hostname or "", port, authority, timeout, self._settings.tls)


def require_ours(reply: Reply, *, has_json: bool = True) -> None:
    """Raises Unavailable for what the gateway did not say: some box between did, an ingress without a backend perhaps."""
    if reply.status < 400:
        is_ours = isinstance(reply.document, dict) if has_json else reply.status == 200
    else:
        is_ours = bool(reply.reason) or reply.status in ABOUT_THE_REQUEST or reply.status >= 500
    if not is_ours:
        raise Unavailable(f"the answer {reply.status} is not the gateway's")


def pause_after(failures: int, longest: float = LONGEST_PAUSE) -> float:
    """Seconds before the next try: doubled with each failure up to a limit, jittered so that executors don't march in step."""
    return float(min(longest, FIRST_PAUSE * 2 ** min(failures, 20)) * random.uniform(0.5, 1.0))  # noqa: S311


def retry_after(reply: Reply) -> float:
    """Seconds; 0 without the header, or with one that is no number."""
    try:
        return max(0.0, min(600.0, float(reply.headers.get("retry-after", "0"))))
    except ValueError:
        return 0.0


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return None
