"""The agent that the gateway serves."""

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Agent:
    """The zipapp, as it was when the process started."""

    content: bytes
    etag: str  # SHA-256, hex

    @staticmethod
    def load(path: Path) -> "Agent":
        content = path.read_bytes()
        return Agent(content, hashlib.sha256(content).hexdigest())
