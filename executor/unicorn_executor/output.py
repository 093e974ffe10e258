"""What a task prints, cut into log chunks, and the tail of it that a `run` task gives as its value."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Any, Optional

from unicorn_executor import wire
from unicorn_executor.compact import encode

CHUNK_BYTES = 12 * 1024  # an event of it stays below 16 KiB unless most of it needs escaping
TAIL_BYTES = 64 * 1024


class Output:
    """One stream of one task run, or of what is none. `add` takes an event."""

    def __init__(self, task: Optional[str], run: Optional[int], stream: str, add: Callable[[dict[str, Any]], None]) -> None:
        self._task, self._run, self._stream, self._add = task, run, stream, add
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._waiting = bytearray()
        self._tail = bytearray()

    def feed(self, data: bytes) -> None:
        self._waiting += data
        self._tail += data
        if len(self._tail) > 4 * TAIL_BYTES:
            del self._tail[:-TAIL_BYTES]
        while len(self._waiting) >= CHUNK_BYTES:
            # At a line's end where there is one.
            end = self._waiting.rfind(b"\n", CHUNK_BYTES // 2, CHUNK_BYTES) + 1 or CHUNK_BYTES
            self._emit(bytes(self._waiting[:end]))
            del self._waiting[:end]

    @property
    def has_waiting(self) -> bool:
        return bool(self._waiting)

    def flush(self) -> None:
        """Everything that waits becomes a chunk."""
        if self._waiting:
            self._emit(bytes(self._waiting))
            self._waiting.clear()

    def tail(self) -> str:
        """The last 64 KiB as text."""
        return bytes(self._tail[-TAIL_BYTES:]).decode("utf-8", "replace")

    def _emit(self, data: bytes) -> None:
        text = self._decoder.decode(data)
        if text:
            self._emit_text(text)

    def _emit_text(self, text: str) -> None:
        event = wire.log(text, self._stream, self._task, self._run)
        if len(text) > 1 and len(encode(event)) > wire.EVENT_BYTES:
            self._emit_text(text[: len(text) // 2])
            self._emit_text(text[len(text) // 2 :])
            return
        self._add(event)
