"""The log of a build: to stdout as it comes, with marks that no command can forge, and with its last lines at hand."""

import sys
from collections import deque
from typing import IO

TAIL = 50  # lines
_MARK = "unicorn: "
_LINE = 16 * 1024  # bytes; a longer line is cut into several
_LIMIT = 16 * 1024 * 1024  # bytes; of what comes after it only the end is shown


class Log:
    def __init__(self) -> None:
        self._tail: deque[str] = deque(maxlen=TAIL)
        self._left = _LIMIT
        self._hidden = 0

    def mark(self, text: str) -> None:
        """A line of ours."""
        _show(f"{_MARK}{text}")

    def start_step(self, number: int, of: int, summary: str) -> None:
        """The tail begins anew: it is this step's."""
        self.finish()
        self._tail.clear()
        self.mark(f"step {number}/{of} {summary}")

    def copy(self, stream: IO[bytes]) -> None:
        """What a command prints, until it ends or everything that holds its output is gone."""
        while line := stream.readline(_LINE):
            self.line(line.decode(errors="replace").rstrip("\r\n").rpartition("\r")[2])  # the last state of a progress bar

    def line(self, text: str) -> None:
        """One of a command's; it cannot pass for a mark."""
        if text.startswith(_MARK):
            text = f" {text}"
        self._tail.append(text)
        if self._left < 0:
            self._hidden += 1
            return
        self._left -= len(text)
        _show(text)
        if self._left < 0:
            self.mark(f"the log is longer than {_LIMIT >> 20} MiB; of what follows only the end is shown")

    def finish(self) -> None:
        """Show the end of what was left out."""
        if self._hidden:
            self.mark(f"{self._hidden} lines were left out; the last of them:")
            for text in self.tail:
                _show(text)
        self._hidden = 0

    @property
    def tail(self) -> list[str]:
        return list(self._tail)


def _show(text: str) -> None:
    """In one write: marks come from another thread as well."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
