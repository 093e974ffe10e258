"""Events on their way to the gateway: a queue on disk, in segments, read in order and sealed into numbered batches.

An event gets its number when it is sealed, so that what has no number yet may still be dropped without leaving a gap. The sealed
batch (the outbox) is written down before it is sent: after a restart the same numbers carry the same events.
The queue is bounded: beyond its limit the oldest log chunks that are not sealed yet are dropped and counted; nothing else is.
"""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Optional

from unicorn_executor.say import say
from unicorn_executor.spool import cut_torn_line, replace, write_all

SEGMENT_BYTES = 1024 * 1024
BATCH_EVENTS = 256
BATCH_BYTES = 1000 * 1000  # of events; the request stays below 1 MiB
SPOOL_BYTES = 256 * 1024 * 1024
SPOOL_SHARE = 0.1  # of the disk that is free, were the spool not there

_LOG = b'{"kind":"Log"'  # how the line of a log chunk begins
_LOG_DROPPED = b'{"kind":"LogDropped"'
_BOOT = b'{"boot":'


class Batch(NamedTuple):
    first: int
    boot: str
    lines: tuple[bytes, ...]  # one event's JSON each

    @property
    def last(self) -> int:
        return self.first + len(self.lines) - 1

    @property
    def bytes(self) -> int:
        return sum(map(len, self.lines))


class _Head(NamedTuple):
    """Where the next event to seal is."""

    segment: int = 1
    offset: int = 0
    boot: str = ""


class _Dropped:
    def __init__(self) -> None:
        self.chunks = self.bytes = 0
        self.stamps: dict[str, Any] = {}

    def take(self, event: dict[str, Any]) -> None:
        """A log chunk, or a count of some."""
        self.chunks += event.get("chunks", 1)
        self.bytes += event["bytes"] if "bytes" in event else len(event["text"].encode())
        self.stamps = {"wall": event["wall"], "mono": event["mono"]}


class EventQueue:
    """`add` may be called from any thread; the rest belongs to one."""

    def __init__(
        self,
        directory: Path,
        boot: str,
        *,
        limit: Callable[[int], int],
        patiently: Callable[[Callable[[], None]], None] = lambda write: write(),
    ) -> None:
        """`limit`: from the bytes it holds to the bytes it may hold. `patiently` does a write that must not be given up."""
        self._directory = directory / "events"
        self._directory.mkdir(exist_ok=True)
        self._outbox = directory / "outbox.jsonl"
        self._limit, self._patiently = limit, patiently
        self._lock = threading.Lock()
        self._head = _Head()
        self._batch: Optional[Batch] = None
        self._at_once = BATCH_EVENTS  # how many events of the batch are sent in one request
        self._lost = _Dropped()  # log chunks that the disk did not take
        self._next = 1
        self._load_outbox()
        self._sizes: OrderedDict[int, int] = OrderedDict()
        for path in sorted(self._directory.glob("*.jsonl")):
            number = int(path.stem)
            if number < self._head.segment:
                path.unlink()
            else:
                self._sizes[number] = path.stat().st_size
        if self._head.segment not in self._sizes:  # all of it was read, or the outbox is gone
            self._head = _Head(min(self._sizes, default=self._head.segment), 0, self._head.boot)
        self._compacted: set[int] = set()
        self._tail = max(self._sizes, default=self._head.segment)
        self._tail_fd = self._open(self._tail)
        self._bytes = sum(self._sizes.values())
        self.add({"boot": boot})

    def add(self, event: dict[str, Any]) -> None:
        """Where the disk takes nothing, log chunks are dropped and counted; for any other event room is waited for."""
        line = _line(event)
        if not line.startswith(_LOG):
            self._patiently(lambda: self._add(line))
            return
        try:
            self._add(line)
        except OSError:
            with self._lock:
                self._lost.take(event)

    def _add(self, line: bytes) -> None:
        with self._lock:
            self._write(_count(self._lost) + line if self._lost.chunks else line)
            self._lost = _Dropped()
            if self._sizes[self._tail] >= SEGMENT_BYTES:
                self._rotate()

    def unsent(self) -> Iterator[dict[str, Any]]:
        """The sealed and the waiting events in order, log chunks left out: for a restart, before anything is sent."""
        for lines in (self._batch.lines if self._batch else (), *map(self._waiting_lines, list(self._sizes))):
            for line in lines:
                if not line.startswith((_BOOT, _LOG)):
                    yield json.loads(line)

    @property
    def next_number(self) -> int:
        """The number of the first event that the gateway has not stored, as far as is known here."""
        return self._batch.first if self._batch else self._next

    @property
    def is_empty(self) -> bool:
        """Nothing is sealed, nothing waits."""
        with self._lock:
            return self._batch is None and all(self._is_read(number) for number in self._sizes)

    def seal(self, most: int = BATCH_BYTES) -> Optional[Batch]:
        """Of the sealed batch, else of a new one, the first `most` bytes, or one event; None when there is nothing to send."""
        while self._batch is None:
            with self._lock:
                while self._is_read(self._head.segment) and self._head.segment < self._tail:
                    following = min(number for number in self._sizes if number > self._head.segment)
                    self._head = self._head._replace(segment=following, offset=0)
                available = self._sizes[self._head.segment] - self._head.offset
            if not available:
                return None
            self._seal(available, most)
            self._at_once = BATCH_EVENTS
        return Batch(self._batch.first, self._batch.boot, _first_of(self._batch.lines[: self._at_once], most))

    def stored(self, number: int) -> None:
        """The gateway has stored everything up to `number`. What it has not stored of the sealed batch stays in it."""
        if self._batch is not None and number >= self._batch.first:
            left = self._batch.lines[number - self._batch.first + 1 :]
            self._replace_batch(left, number + 1)
        else:
            self._next = max(self._next, number + 1)

    def continue_at(self, expected: int) -> bool:
        """The gateway expects this number next. False when it has lost events that are gone here, too: numbers go on there."""
        if self._batch is None:
            lost = expected < self._next
            self._next = expected
            return not lost
        if expected < self._batch.first:
            self._replace_batch(self._batch.lines, expected)
            return False
        self.stored(min(expected - 1, self._batch.last))
        if self._batch is None:
            self._next = expected
        return True

    def shorten(self, refused: int = BATCH_EVENTS) -> bool:
        """The gateway refuses the first `refused` events of the batch: send half of them. False when that was a single one."""
        if self._batch is None or min(refused, self._at_once, len(self._batch.lines)) < 2:
            return False
        self._at_once = min(refused, self._at_once, len(self._batch.lines)) // 2
        return True

    def give_up(self, replacement: Optional[dict[str, Any]]) -> bytes:
        """The gateway refuses the first event of the batch: `replacement`, if any, goes in its place; its line."""
        line = b"" if replacement is None else _line(replacement).rstrip()
        if self._batch is not None:
            self._replace_batch((*([line] if line else []), *self._batch.lines[1:]), self._batch.first)
        return line

    def close(self) -> None:
        os.close(self._tail_fd)

    def _waiting_lines(self, segment: int) -> list[bytes]:
        content = self._path(segment).read_bytes()
        return content[self._head.offset if segment == self._head.segment else 0 :].splitlines()

    # -- sealing

    def _seal(self, available: int, most: int) -> None:
        """Takes the next lines of the head's segment, `most` bytes or one; boot marks are taken out and end a batch."""
        with open(self._path(self._head.segment), "rb") as file:
            file.seek(self._head.offset)
            content = file.read(min(available, most + 64 * 1024))
        lines: list[bytes] = []
        size, taken, boot = 0, 0, self._head.boot
        for line in content.split(b"\n")[:-1]:
            if line.startswith(_BOOT):
                if lines:
                    break
                boot = str(json.loads(line)["boot"])
                taken += len(line) + 1
                continue
            if lines and (len(lines) == BATCH_EVENTS or size + len(line) + 1 > most):
                break
            lines.append(line)
            size += len(line) + 1
            taken += len(line) + 1
        head = self._head
        with self._lock:
            self._head = _Head(head.segment, head.offset + taken, boot)
        if lines:
            try:
                self._replace_batch(tuple(lines), self._next)
            except OSError:
                with self._lock:
                    self._head = head
                raise
            self._forget_read_segments()

    def _replace_batch(self, lines: tuple[bytes, ...], first: int) -> None:
        header = {"first": first, "segment": self._head.segment, "offset": self._head.offset, "boot": self._head.boot}
        replace(self._outbox, b"".join(line + b"\n" for line in (json.dumps(header).encode(), *lines)))
        self._next = first + len(lines)
        self._batch = Batch(first, self._head.boot, lines) if lines else None

    def _load_outbox(self) -> None:
        try:
            header, *lines = self._outbox.read_bytes().splitlines()
        except (FileNotFoundError, ValueError):
            return
        state = _header(header)
        if state is None:
            return
        self._head = _Head(state["segment"], state["offset"], state["boot"])
        self._next = state["first"] + len(lines)
        self._batch = Batch(state["first"], state["boot"], tuple(lines)) if lines else None

    # -- segments

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:010}.jsonl"

    def _write(self, data: bytes) -> None:
        """All of it or nothing."""
        try:
            write_all(self._tail_fd, data)
        except OSError:
            os.ftruncate(self._tail_fd, self._sizes[self._tail])
            raise
        self._sizes[self._tail] += len(data)
        self._bytes += len(data)

    def _open(self, number: int) -> int:
        fd = os.open(self._path(number), os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        cut_torn_line(fd)
        self._sizes[number] = os.fstat(fd).st_size
        return fd

    def _is_read(self, number: int) -> bool:
        return number < self._head.segment or (number == self._head.segment and self._head.offset >= self._sizes[number])

    def _rotate(self) -> None:
        """The next segment, and within the limit; where the disk takes neither, the next event tries again."""
        try:
            fd = self._open(self._tail + 1)
            os.close(self._tail_fd)
            self._tail, self._tail_fd = self._tail + 1, fd
            limit = self._limit(self._bytes)
            while self._bytes > limit:
                if not self._drop_oldest_logs():
                    return
        except OSError as error:
            say(f"the spool cannot be put in order: {error}")

    def _forget_read_segments(self) -> None:
        with self._lock:
            for number in [number for number in self._sizes if number < self._head.segment]:
                self._bytes -= self._sizes.pop(number)
                self._path(number).unlink()

    def _drop_oldest_logs(self) -> bool:
        """Drops the log chunks of one segment between the head's and the tail's. False when there are none any more."""
        before = None
        for number in self._sizes:
            if number in (self._head.segment, self._tail) or number < self._head.segment:
                continue
            if number in self._compacted:
                before = number
                continue
            self._compact(number, before)
            return True
        return False

    def _compact(self, number: int, before: Optional[int]) -> None:
        """Rewrites a segment without its log chunks; merged into the compacted one before it, so that few small ones remain."""
        lines = self._path(number).read_bytes().splitlines()
        if before is not None and self._sizes[before] < SEGMENT_BYTES // 2:
            lines = self._path(before).read_bytes().splitlines() + lines
            self._bytes -= self._sizes.pop(number)
            self._path(number).unlink()
            number = before
        content = b"".join(line + b"\n" for line in without_logs(lines))
        replace(self._path(number), content)
        self._bytes += len(content) - self._sizes[number]
        self._sizes[number] = len(content)
        self._compacted.add(number)


def _first_of(lines: tuple[bytes, ...], most: int) -> tuple[bytes, ...]:
    """As many as `most` bytes hold; at least one."""
    size = 0
    for count, line in enumerate(lines):
        size += len(line) + 1
        if count and size > most:
            return lines[:count]
    return lines


def without_logs(lines: list[bytes]) -> list[bytes]:
    """The lines of a segment, each stretch of log chunks (and earlier such counts) replaced by one count."""
    kept: list[bytes] = []
    dropped = _Dropped()
    for line in lines:
        if line.startswith((_LOG, _LOG_DROPPED)):
            dropped.take(json.loads(line))
            continue
        if dropped.chunks:
            kept.append(_count(dropped).rstrip())
            dropped = _Dropped()
        kept.append(line)
    return [*kept, _count(dropped).rstrip()] if dropped.chunks else kept


def _header(line: bytes) -> Optional[dict[str, Any]]:
    """None for what a machine's death has left of one: what is in the segments still is sent then, perhaps once more."""
    try:
        header = json.loads(line)
        return {
            "segment": int(header["segment"]),
            "offset": int(header["offset"]),
            "boot": str(header["boot"]),
            "first": int(header["first"]),
        }
    except (ValueError, KeyError, TypeError):
        return None


def _count(dropped: _Dropped) -> bytes:
    return _line({"kind": "LogDropped", **dropped.stamps, "chunks": dropped.chunks, "bytes": dropped.bytes})


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def disk_limit(directory: Path) -> Callable[[int], int]:
    """The spool's limit: 256 MB, and a tenth of the disk that is free."""

    def limit(held: int) -> int:
        disk = os.statvfs(directory)
        return min(SPOOL_BYTES, int(SPOOL_SHARE * (disk.f_bavail * disk.f_frsize + held)))

    return limit
