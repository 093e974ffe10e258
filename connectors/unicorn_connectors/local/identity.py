"""Under which user id an executor runs.

Where the operator is root, one of its own: executors can neither read each other's tokens nor signal each other, and
whatever runs under that id is known to be the executor's.
"""

import os
from pathlib import Path

from unicorn_core.naming import ExecutorId

_FIRST = 1_000_000_000  # far above all ids that systems, containers and subordinate ranges use
_COUNT = 1_000_000_000
_NOBODY = 65534


def user_of(executor: ExecutorId) -> int | None:
    """None: the operator's own. Deterministic. Where the kernel's map of ids is too small: nobody."""
    if os.geteuid() != 0:
        return None
    return _FIRST + executor.int % _COUNT if _mapped() else _NOBODY


def is_own(user: int | None) -> bool:
    """Whether nobody else runs under it."""
    return user is not None and user != _NOBODY


def _mapped() -> bool:
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, count = map(int, line.split())
        if first <= _FIRST and first + count >= _FIRST + _COUNT:
            return True
    return False
