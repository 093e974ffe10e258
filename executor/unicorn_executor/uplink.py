"""The thread that sends events and heartbeats, in order, until the gateway has stored them all."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

from unicorn_executor import wire
from unicorn_executor.blobs import BlobRefused, upload
from unicorn_executor.event_queue import BATCH_BYTES, BATCH_EVENTS, Batch, EventQueue
from unicorn_executor.gateway import Faulty, Gateway, GatewayError, Refused, Reply, Stopped, TooMuch, pause_after
from unicorn_executor.pace import LEAST
from unicorn_executor.room import FULL, LOOK, Room
from unicorn_executor.say import say
from unicorn_executor.spool import Journal

EVENTS = "/v2/executor/events"
LONGEST_REFUSAL = 5.0  # seconds between two tries while everything is refused
BREATH = 0.1  # seconds from an event to its request while the graph runs: events travel together, and tasks start first


class Uplink:
    """`on_command` takes a command's name, `on_end` the error after which nothing can be sent; both are called in the thread."""

    def __init__(
        self,
        gateway: Gateway,
        queue: EventQueue,
        journal: Journal,
        blobs: Path,
        room: Room,
        heartbeat: float,
        on_command: Callable[[str], None],
        on_end: Callable[[GatewayError], None],
    ) -> None:
        self._gateway, self._queue, self._journal, self._blobs = gateway, queue, journal, blobs
        self._room, self._heartbeat = room, heartbeat
        self._on_command, self._on_end = on_command, on_end
        self._news = threading.Event()
        self._draining = threading.Event()
        self._sent_at = float("-inf")
        self._most = BATCH_BYTES  # of events in a batch
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)
        self.dropped = 0  # events that the gateway refused
        self._refusals = 0  # without a request between that it took
        self._instead = b""  # what was sent last in the place of a refused event

    def start(self) -> None:
        self._thread.start()

    def notify(self) -> None:
        """There are events."""
        self._news.set()

    def drain(self, timeout: Optional[float] = None) -> bool:
        """No events will come any more: sends what there is, at once. True when all of it is stored."""
        self._draining.set()
        self._news.set()
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._gateway.stop()
            self._thread.join(1.0)
        return self._queue.is_empty

    def _run(self) -> None:
        try:
            self._draining.wait(BREATH)
            while self._goes_on():
                pass
        except Stopped:
            return
        except GatewayError as error:
            self._on_end(error)
        except OSError as error:
            self._on_end(Faulty(f"the spool cannot be written: {error}"))
        except Exception as error:  # a thread that dies silently would leave an agent that is never heard again
            traceback.print_exc()
            self._on_end(Faulty(f"events cannot be sent: {type(error).__name__}: {error}"))

    def _goes_on(self) -> bool:
        """One turn; a full disk keeps events from being sent, not heartbeats. False when nothing is left and none will come."""
        try:
            is_going = self._turn()
            self._most = BATCH_BYTES
            return is_going
        except OSError as error:  # the disk's: of the gateway only its own errors come
            if error.errno not in FULL:
                raise
        self._most = LEAST
        self._room.make()
        time.sleep(LOOK)
        with contextlib.suppress(OSError):
            self.beat()
        return True

    def _turn(self) -> bool:
        self._news.clear()
        batch = self._queue.seal(min(self._most, self._gateway.pace.size))
        if batch is not None:
            self._send(batch)
        elif self._draining.is_set():
            return False
        elif not self._news.wait(max(0.0, self._sent_at + self._heartbeat - time.monotonic())):
            self._send_heartbeat()
            return True
        if not batch or (len(batch.lines) < BATCH_EVENTS // 2 and batch.bytes < self._gateway.pace.size // 2):
            self._draining.wait(BREATH)
        return True

    def beat(self) -> None:
        """A heartbeat, where one is due. From the thread, and from others once it has ended."""
        if time.monotonic() >= self._sent_at + self._heartbeat:
            self._send_heartbeat()

    def _send_heartbeat(self) -> None:
        reply = self._gateway.call("POST", EVENTS, b'{"first":%d,"events":[]}' % self._queue.next_number)
        self._sent_at = time.monotonic()
        self._take(reply, None)

    def _send(self, batch: Batch) -> None:
        self._journal.sync()  # what the gateway knows, a restart must know
        self._upload_blobs(batch)
        body = b'{"first":%d,"bootId":%s,"events":[%s]}' % (batch.first, json.dumps(batch.boot).encode(), b",".join(batch.lines))
        try:
            reply = self._gateway.call("POST", EVENTS, body, divisible=len(batch.lines) > 1)
        except TooMuch:
            return  # fewer of them the next time
        self._sent_at = time.monotonic()
        self._take(reply, batch)

    def _take(self, reply: Reply, batch: Optional[Batch]) -> None:
        if reply.status == 200 and isinstance(reply.document, dict):
            self._refusals = 0
            self._queue.stored(int(reply.document.get("stored", 0)))
            self._forget_blobs(batch)
            for command in reply.document.get("commands", ()):
                self._on_command(str(command.get("command")))
        elif reply.status == 404:
            raise Refused(reply.describe())
        elif reply.status == 409 and isinstance(reply.document, dict) and "expected" in reply.document:
            if not self._queue.continue_at(int(reply.document["expected"])):
                self._queue.add(
                    wire.log("the gateway has lost events that were stored before; numbers go on from what it has", "agent")
                )
        elif batch is not None and not self._queue.shorten(len(batch.lines)):
            self._give_up(batch, reply)

    def _give_up(self, batch: Batch, reply: Reply) -> None:
        """A single event is refused: the end of a task run is sent without its value, any other is replaced by a log line; where
        that is refused too, it is dropped. Perhaps everything is refused just now: not too fast."""
        self._refusals += 1
        time.sleep(pause_after(self._refusals - 1, LONGEST_REFUSAL))
        event: dict[str, Any] = json.loads(batch.lines[0])
        is_instead = batch.lines[0] == self._instead
        self.dropped += not is_instead
        if is_instead and event["kind"] == "Log":
            self._queue.give_up(None)
            say(f"an event was dropped, and the word of it: {reply.describe()}")
            return
        replacement = wire.log(f"an event ({event['kind']}) was refused: {reply.status} {reply.reason}", "agent")
        if event["kind"] in ("TaskStarted", "TaskFinished") and not is_instead:
            bare = {key: value for key, value in event.items() if key not in ("value", "blob", "notJson")}
            if bare != event:
                value = {"repr": f"<refused by the gateway: {reply.status} {reply.reason}>"}
                replacement = {**bare, "notJson": True, "value": value}
        self._instead = self._queue.give_up(replacement)

    def _upload_blobs(self, batch: Batch) -> None:
        for digest in _blobs_of(batch):
            try:
                upload(self._gateway, digest, (self._blobs / digest).read_bytes, self.beat)
            except BlobRefused:
                pass  # the event that names it will be refused, and then go without its value

    def _forget_blobs(self, batch: Optional[Batch]) -> None:
        for digest in _blobs_of(batch) if batch else ():
            (self._blobs / digest).unlink(missing_ok=True)


def _blobs_of(batch: Batch) -> list[str]:
    """What its events name; a value may have a key of the same name."""
    candidates = (json.loads(line) for line in batch.lines if b'"blob":"' in line and not line.startswith(b'{"kind":"Log"'))
    return [event["blob"] for event in candidates if "blob" in event]
