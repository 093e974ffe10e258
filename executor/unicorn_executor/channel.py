"""What the agent, its worker and a task's process say to each other, over sockets and a pipe of their own.

Agent -> the worker's spare: `ORDER` (run, try) with four file descriptors: input, stdout, stderr, report.
Spare -> worker: `TAKEN` (pid, run, try). Worker -> agent: `EXIT` (run, try, wait status).
Task -> agent (the report pipe): frames of `FRAME` (kind, length of the JSON, length of the pickle) and the two. Kinds: `PROCESS`
(JSON: its pid) first, before anything of the task runs, and `RESULT` last.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Any, NamedTuple, Optional

from unicorn_executor.compact import encode

ORDER = struct.Struct("!II")
TAKEN = struct.Struct("!III")
EXIT = struct.Struct("!IIi")
FRAME = struct.Struct("!cQQ")
PROCESS = b"P"
RESULT = b"R"


class Order(NamedTuple):
    run: int
    number: int  # the try
    fds: tuple[int, ...]  # input, stdout, stderr, report; not inherited by what the task executes


def receive_order(orders: socket.socket) -> Optional[Order]:
    """Waits for one. None when the agent is gone."""
    try:
        data, fds, _, _ = socket.recv_fds(orders, ORDER.size, 4)
    except ConnectionError:
        return None
    if len(data) < ORDER.size or len(fds) < 4:
        return None
    for fd in fds:
        os.set_inheritable(fd, False)
    run, number = ORDER.unpack(data)
    return Order(run, number, tuple(fds))


def write_frame(fd: int, kind: bytes, document: Any, pickled: bytes = b"") -> None:
    content = encode(document)
    data = memoryview(FRAME.pack(kind, len(content), len(pickled)) + content + pickled)
    while data:
        data = data[os.write(fd, data) :]


class FrameReader:
    """Puts frames together from what a non-blocking pipe gives."""

    def __init__(self) -> None:
        self._parts = bytearray()

    def feed(self, data: bytes) -> list[tuple[bytes, bytes, bytes]]:
        """(kind, JSON, pickle) of each frame that is complete now."""
        self._parts += data
        frames: list[tuple[bytes, bytes, bytes]] = []
        while True:
            frame = self._next()
            if frame is None:
                return frames
            frames.append(frame)

    def _next(self) -> Optional[tuple[bytes, bytes, bytes]]:
        if len(self._parts) < FRAME.size:
            return None
        kind, document, pickled = FRAME.unpack_from(self._parts)
        end = FRAME.size + document + pickled
        if len(self._parts) < end:
            return None
        content = bytes(self._parts[FRAME.size : end])
        del self._parts[:end]
        return kind, content[:document], content[document:]
