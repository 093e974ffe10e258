"""The end of a build, as JSON of at most 4 096 bytes: what Kubernetes keeps of a termination message."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

LIMIT = 4096
_LINE, _TEXT = 500, 700  # characters


@dataclass(frozen=True)
class Report:
    """`unicorn_core.images.BuildReport` reads it and says what the results mean."""

    result: str
    digest: str = ""
    cached: int = 0
    message: str = ""
    step: int = 0
    title: str = ""
    command: str = ""
    exit_code: int | None = None
    tail: Sequence[str] = ()

    def to_json(self) -> str:
        """Lines are left out from the top until it fits."""
        fitting = replace(self, message=_cut(self.message, _TEXT), command=_cut(self.command, _TEXT))
        fitting = replace(fitting, tail=[_cut(line, _LINE) for line in self.tail])
        while len(written := fitting._written()) > LIMIT:
            fitting = replace(fitting, tail=fitting.tail[1:])
        return written.decode()

    def _written(self) -> bytes:
        said = {
            "result": self.result,
            "digest": self.digest,
            "cached": self.cached,
            "message": self.message,
            "step": self.step,
            "title": self.title,
            "command": self.command,
            "exitCode": self.exit_code,
            "tail": list(self.tail),
        }
        return json.dumps({key: value for key, value in said.items() if value not in ("", None, [])}).encode()


def _cut(text: str, limit: int) -> str:
    """In ASCII, as JSON writes it, no longer than this: a character outside of it takes up to twelve."""
    while len(json.dumps(text)) - 2 > limit:
        text = text[: len(text) * 9 // 10 - 1] + "…"
    return text
