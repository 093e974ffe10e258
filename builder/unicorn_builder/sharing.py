"""Builds that use one directory: they tidy up only when alone, and do a step that they have in common once."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Users:
    """A build holds its directory's lock together with others. Who gets it alone may tidy up; the others wait until it shares."""

    def __init__(self, work: Path) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self._file = (work / "users").open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.alone = True
        except BlockingIOError:
            fcntl.flock(self._file, fcntl.LOCK_SH)
            self.alone = False

    def share(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_SH)

    def leave(self) -> None:
        self._file.close()


@contextmanager
def one_at_a_time(work: Path, image: str) -> Iterator[None]:
    """Who comes later finds the image made."""
    locks = work / "locks"
    locks.mkdir(exist_ok=True)
    with (locks / image.rpartition(":")[2]).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
