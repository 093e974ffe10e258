"""Without root: the same program again as root of a user namespace, which newuidmap and newgidmap fill."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from unicorn_builder import processes


def run_inside(arguments: Sequence[str]) -> int:
    """SIGTERM is handed on to the program itself: what stands between does not do so."""
    signal.signal(signal.SIGTERM, _hand_on)
    command = ["buildah", "unshare", sys.executable, "-m", "unicorn_builder", *arguments]
    return subprocess.run(command, check=False).returncode


def _hand_on(_number: int, _frame: FrameType | None) -> None:
    for pid in processes.descendants(os.getpid()):
        try:
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(os.fsencode(sys.executable) + b"\0"):
                os.kill(pid, signal.SIGTERM)
        except (OSError, ProcessLookupError):
            pass
