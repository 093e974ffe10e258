"""A small event loop: readable descriptors, timers, signals, and posts from other threads."""

from __future__ import annotations

import heapq
import itertools
import os
import queue
import selectors
import signal
import time
from collections.abc import Callable
from typing import Any, Optional

Callback = Callable[[], object]
MOST_CANCELLED = 64  # timers that are kept until their time comes


class Timer:
    def __init__(self, callback: Callback) -> None:
        self.callback: Optional[Callback] = callback  # None: it was called, or cancelled


class Loop:
    """To be made and run in the main thread. `signals`: number -> what to do about it."""

    def __init__(self, signals: dict[int, Callback]) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._cancelled = 0  # of the timers
        self._order = itertools.count()
        self._posts: queue.SimpleQueue[Callback] = queue.SimpleQueue()
        self._arrived: set[int] = set()
        self._signals = signals
        self._wake_read, self._wake_write = os.pipe()
        for fd in (self._wake_read, self._wake_write):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in signals:
            signal.signal(number, self._note)
        self.watch(self._wake_read, self._woken)

    def watch(self, source: Any, callback: Callback) -> None:
        """`callback` is called while `source` (a descriptor or a socket) is readable."""
        self._selector.register(source, selectors.EVENT_READ, callback)

    def forget(self, source: Any) -> None:
        self._selector.unregister(source)

    def after(self, seconds: float, callback: Callback) -> Timer:
        timer = Timer(callback)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), timer))
        return timer

    def cancel(self, timer: Timer) -> None:
        """It will not be called; what it would have called is let go. Harmless when it has been."""
        if timer.callback is None:
            return
        timer.callback = None
        self._cancelled += 1
        if self._cancelled > MOST_CANCELLED and self._cancelled > len(self._timers) // 2:
            self._timers = [entry for entry in self._timers if entry[2].callback is not None]
            heapq.heapify(self._timers)
            self._cancelled = 0

    def post(self, callback: Callback) -> None:
        """From any thread: `callback` is called in the loop's."""
        self._posts.put(callback)
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            pass  # full: it will wake

    def run_while(self, condition: Callable[[], bool]) -> None:
        while condition():
            for key, _ in self._selector.select(self._until_next_timer()):
                # An earlier callback of this round may have unregistered it.
                if self._selector.get_map().get(key.fd) is key:
                    key.data()
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                self._call(heapq.heappop(self._timers)[2])

    def _call(self, timer: Timer) -> None:
        callback, timer.callback = timer.callback, None
        if callback is None:
            self._cancelled -= 1
        else:
            callback()

    def _until_next_timer(self) -> Optional[float]:
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _note(self, number: int, _frame: Any) -> None:
        self._arrived.add(number)

    def _woken(self) -> None:
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            pass
        while self._arrived:
            self._signals[self._arrived.pop()]()
        while True:
            try:
                callback = self._posts.get_nowait()
            except queue.Empty:
                return
            callback()
