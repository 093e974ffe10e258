"""The agent's own words, on stderr."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """One line. Never a token."""
    try:
        sys.stderr.write(f"unicorn-executor: {text}\n")
        sys.stderr.flush()
    except OSError:
        pass  # nobody reads it any more; the run goes on
