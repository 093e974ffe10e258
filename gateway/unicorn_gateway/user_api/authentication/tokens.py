"""Users' tokens: JWTs signed with Ed25519, by a key that nothing else is signed with."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import jwt
import structlog
from unicorn_core.errors import Problem, Refused
from unicorn_core.tokens import SigningKey, TokenRefused, load_signing_key

AUDIENCE = "unicorn-user"
_ALGORITHM = "EdDSA"
LONGEST = 16 * 1024  # characters; ours have about 300, those of other issuers more
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Claims:
    account: UUID
    generation: int


class UserTokens:
    """`path`: of the private key. A key that replaces it counts from the next look on; tokens of the old one end."""

    def __init__(self, path: Path) -> None:
        """Raises Refused."""
        self._path = path
        self._seen = self._state()
        self._key = self._load()

    def issue(self, account: UUID, generation: int, now: datetime, lifetime: timedelta) -> str:
        key = self._current()
        claims = {
            "sub": str(account),
            "aud": AUDIENCE,
            "gen": generation,
            "iat": int(now.timestamp()),
            "exp": int((now + lifetime).timestamp()),
            "jti": uuid4().hex,
        }
        return jwt.encode(claims, key.key, algorithm=_ALGORITHM, headers={"kid": key.kid})

    def verify(self, token: str, now: datetime) -> Claims | None:
        """None: it is not signed by us; somebody else may know it. Raises TokenRefused (expired, not for this API, broken)."""
        if len(token) > LONGEST:
            raise TokenRefused("the token is too long")
        key = self._current()
        try:
            kid = jwt.get_unverified_header(token).get("kid")
        except (jwt.PyJWTError, ValueError, AttributeError):
            return None
        if kid != key.kid:
            return None
        # The clock is ours to give: `now` is an argument.
        options: jwt.types.Options = {
            "require": ["sub", "exp", "aud"],
            "verify_exp": False,
            "verify_iat": False,
            "verify_nbf": False,
        }
        try:
            claims = jwt.decode(token, key.key.public_key(), algorithms=[_ALGORITHM], audience=AUDIENCE, options=options)
            account, generation, expires = UUID(claims["sub"]), claims["gen"], datetime.fromtimestamp(claims["exp"], UTC)
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, OverflowError, AttributeError) as error:
            raise TokenRefused("the token is not one of this API") from error
        if not isinstance(generation, int) or isinstance(generation, bool):
            raise TokenRefused("the token is not one of this API")
        if now >= expires:
            raise TokenRefused("the token has expired: log in again")
        return Claims(account, generation)

    def _current(self) -> SigningKey:
        try:
            seen = self._state()
            if seen != self._seen:
                self._key, self._seen = self._load(), seen
        except Refused as error:
            _log.warning("the signing key cannot be read again; the old one stays", error=str(error))
        return self._key

    def _load(self) -> SigningKey:
        try:
            return load_signing_key(self._path.read_bytes(), str(self._path))
        except OSError as error:
            raise _unreadable(error) from error

    def _state(self) -> tuple[int, int]:
        try:
            stat = self._path.stat()
        except OSError as error:
            raise _unreadable(error) from error
        return (stat.st_mtime_ns, stat.st_ino)


def _unreadable(error: OSError) -> Refused:
    return Refused(Problem("UNICORN_USER_SIGNING_KEY_FILE", f"the key cannot be read: {error.strerror}", "a PEM file"))
