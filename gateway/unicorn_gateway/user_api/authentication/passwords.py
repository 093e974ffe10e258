"""bcrypt, off the event loop, by a few threads: a check costs a quarter of a second of a core, on purpose."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import bcrypt
from unicorn_core.errors import Problem, Refused

COST = 12
LONGEST = 72  # bytes: bcrypt ignores what comes after
SHORTEST = 8  # characters, of a new one
_NOBODY = b"$2b$12$M3jjenZ/9b2zgiHhfeTNDuHUi7GpsnOGbqm8IsBaIdVpfpu8nsLce"  # of a password that nobody knows


@dataclass(eq=False)
class Passwords:
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, thread_name_prefix="bcrypt"))

    async def fits(self, password: str, hashed: str | None) -> bool:
        """None: there is no such account; it takes as long."""
        loop = asyncio.get_running_loop()
        right = await loop.run_in_executor(self._threads, _check, password.encode(), (hashed or "").encode() or _NOBODY)
        return right and hashed is not None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def hash_new(password: str) -> str:
    """Raises Refused: too short, too long. Blocks for a quarter of a second."""
    encoded = password.encode()
    if len(password) < SHORTEST:
        raise Refused(Problem("password", "is too short", f"at least {SHORTEST} characters"))
    if len(encoded) > LONGEST or b"\0" in encoded:
        raise Refused(Problem("password", "is too long, or holds a NUL", f"at most {LONGEST} bytes, which is what bcrypt takes"))
    return bcrypt.hashpw(encoded, bcrypt.gensalt(COST)).decode()


def check_hash(text: str) -> str:
    """A hash that somebody else made, as netunicorn keeps it. Raises Refused."""
    try:
        bcrypt.checkpw(b"", text.encode())
    except ValueError as error:
        raise Refused(Problem("password hash", "is not one of bcrypt", "such as $2b$12$…")) from error
    return text


def _check(password: bytes, hashed: bytes) -> bool:
    short = password[:LONGEST].replace(b"\0", b"?")
    right = bcrypt.checkpw(short, hashed)
    return right and short == password
