"""The public keys that tokens are signed with, read again when their file changes."""

from dataclasses import dataclass, field
from pathlib import Path

import structlog
from unicorn_core.errors import Problem, Refused
from unicorn_core.tokens import PublicKeys, load_public_keys

_log = structlog.get_logger(__name__)


@dataclass
class KeyRing:
    """`path`: a JSON file {kid: PEM or JWK}, or a directory of such files (*.json)."""

    path: Path
    keys: PublicKeys = field(default_factory=dict)
    _seen: tuple[tuple[str, int, int], ...] = ()

    def load(self) -> None:
        """Raises Refused: missing, unreadable, no keys."""
        try:
            seen = self._state()
            keys = {kid: key for file in self._files() for kid, key in load_public_keys(file.read_text(), str(file)).items()}
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(Problem(str(self.path), f"the public keys cannot be read: {type(error).__name__}")) from error
        if not keys:
            raise Refused(Problem(str(self.path), "no public keys are there", "a JSON file {kid: PEM or JWK}"))
        self.keys, self._seen = keys, seen

    def refresh(self) -> bool:
        """Read again if changed. What cannot be read (a file half written) leaves the keys as they are. True: they changed."""
        try:
            if self._state() == self._seen:
                return False
            self.load()
        except (OSError, Refused) as error:
            _log.warning("the public keys cannot be read again; the old ones stay", error=str(error))
            return False
        return True

    def _files(self) -> list[Path]:
        return sorted(self.path.glob("*.json")) if self.path.is_dir() else [self.path]

    def _state(self) -> tuple[tuple[str, int, int], ...]:
        return tuple((str(file), (stat := file.stat()).st_mtime_ns, stat.st_ino) for file in self._files())
