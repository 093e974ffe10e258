"""What foreign text becomes before it is shown in a status, an event or a terminal."""

import re
from collections.abc import Sequence

from unicorn_core.errors import shorten

LOG_LINES = 50  # of the end of a log, in a status
LOG_LINE = 160  # characters of such a line
MESSAGE_LIMIT = 1024  # characters, the design's limit for status and events
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Foreign text without control and direction characters and halves of characters, at most `limit` characters long."""
    return shorten(_CONTROL.sub("", text), limit)


def last_lines(lines: Sequence[str], count: int = LOG_LINES, length: int = LOG_LINE) -> list[str]:
    """The end of a foreign log: no more than so many lines, none of them longer than so many characters."""
    return [plain(" ".join(line.splitlines()), length) for line in lines[-count:]]
