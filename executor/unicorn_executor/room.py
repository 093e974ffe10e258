"""A full disk: some of it is set aside for that moment, and what was to be kept waits for more.

A task that fills the disk shares it with the spool. The end of that one, and the start of one that clears up, are a few hundred
bytes.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from unicorn_executor.say import say

FULL = (errno.ENOSPC, errno.EDQUOT)
RESERVE = 256 * 1024  # bytes
PLENTY = 16 * RESERVE  # free bytes from which it is set aside again
LOOK = 0.25  # seconds between two tries

T = TypeVar("T")


class Room:
    """The reserve is the file `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_kept = False
        self._keep()

    def patiently(self, write: Callable[[], T]) -> T:
        """`write`, all or nothing, again and again while the disk is full."""
        if not self._is_kept:
            self._keep()
        tries = 0
        while True:
            try:
                return write()
            except OSError as error:
                if error.errno not in FULL:
                    raise
            if tries == 1:
                say("the disk is full: waiting for room")
            if tries:
                time.sleep(LOOK)
            self.make()
            tries += 1

    def make(self) -> None:
        """Gives the reserve away. From any thread."""
        self._is_kept = False
        self._path.unlink(missing_ok=True)

    def _keep(self) -> None:
        try:
            disk = os.statvfs(self._path.parent)
            if disk.f_bavail * disk.f_frsize < PLENTY:
                return
            with open(self._path, "wb") as file:
                file.write(bytes(RESERVE))
            self._is_kept = True
        except OSError:
            self.make()
