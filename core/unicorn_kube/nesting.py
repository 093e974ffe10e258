"""Reading JSON that anybody may have nested as deeply as the API server takes it, which is deeper than Python's reader goes.

One such object must not hide all others from us: what lies too deep in it reads as null. The models refuse such values
(unicorn_core.resources.types), so that nothing is run with a part of it missing.
"""

import json
import re
from typing import Any

READ_LEVELS = 256  # more than the models take and a list of objects adds

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]')


def parse(raw: bytes) -> Any:
    """As json.loads. Raises ValueError."""
    try:
        return json.loads(raw)
    except RecursionError:
        return json.loads(_pruned(raw))


def _pruned(raw: bytes) -> bytes:
    """The same document with null in place of each list and object below `READ_LEVELS`."""
    kept, copied, depth = [], 0, 0
    for token in _TOKEN.finditer(raw):
        first = token.group()[:1]
        if first in b"[{":
            depth += 1
            if depth == READ_LEVELS + 1:
                kept += [raw[copied : token.start()], b"null"]
        elif first in b"]}":
            if depth == READ_LEVELS + 1:
                copied = token.end()
            depth -= 1
    return b"".join([*kept, raw[copied:]])
