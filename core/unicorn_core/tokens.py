"""Executor tokens: JWTs signed with Ed25519. The operator signs, the gateway verifies; nothing else knows their form.

`python -m unicorn_core.tokens new-key DIR` makes a key pair: DIR/private.pem (0600) and DIR/public.json ({kid: PEM}).
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from unicorn_core.errors import Problem, Refused, UnicornError
from unicorn_core.naming import ExecutorId

AUDIENCE = "unicorn-executor"
_ALGORITHM = "EdDSA"
_LONGEST = 4096  # characters; ours have about 300


class TokenRefused(UnicornError):
    """No, broken, expired or foreign token. The message is for a log, and safe to show."""

    reason = "Unauthenticated"


@dataclass(frozen=True, slots=True)
class Claims:
    executor: ExecutorId
    fence: int
    expires: datetime  # aware UTC


@dataclass(frozen=True, slots=True)
class SigningKey:
    kid: str
    key: Ed25519PrivateKey = field(repr=False)


PublicKeys = Mapping[str, Ed25519PublicKey]  # by kid


def sign(executor: ExecutorId, fence: int, expires: datetime, key: SigningKey) -> str:
    """A token for one start of an executor; `expires` is aware, whole seconds count."""
    claims = {"sub": str(executor), "aud": AUDIENCE, "exp": int(expires.timestamp()), "fence": fence}
    return jwt.encode(claims, key.key, algorithm=_ALGORITHM, headers={"kid": key.kid})


def verify(token: str, keys: PublicKeys, now: datetime) -> Claims:
    """What a valid token says. Raises TokenRefused."""
    if len(token) > _LONGEST:
        raise TokenRefused("the token is too long")
    try:
        kid = jwt.get_unverified_header(token).get("kid")
        key = keys.get(kid) if isinstance(kid, str) else None
        if key is None:
            raise TokenRefused("the token is signed with an unknown key")
        # The clock is ours to give: `now` is an argument.
        options: jwt.types.Options = {
            "require": ["sub", "exp", "aud"],
            "verify_exp": False,
            "verify_iat": False,
            "verify_nbf": False,
        }
        claims = jwt.decode(token, key, algorithms=[_ALGORITHM], audience=AUDIENCE, options=options)
        executor, fence, expires = UUID(claims["sub"]), claims["fence"], datetime.fromtimestamp(claims["exp"], UTC)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, OverflowError, AttributeError) as error:
        raise TokenRefused("the token is not one of ours") from error
    if not isinstance(fence, int) or isinstance(fence, bool) or not 0 <= fence < 2**63:
        raise TokenRefused("the token has no fencing number")
    if now >= expires:
        raise TokenRefused("the token has expired")
    return Claims(ExecutorId(executor), fence, expires)


def key_id(key: Ed25519PublicKey) -> str:
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]


def new_key() -> SigningKey:
    key = Ed25519PrivateKey.generate()
    return SigningKey(key_id(key.public_key()), key)


def load_signing_key(pem: bytes, path: str = "private key") -> SigningKey:
    """Raises Refused."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Refused(
            Problem(path, "not a private key in PEM form", "python -m unicorn_core.tokens new-key DIR makes one")
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Refused(Problem(path, "not an Ed25519 key", "python -m unicorn_core.tokens new-key DIR makes one"))
    return SigningKey(key_id(key.public_key()), key)


def load_public_keys(text: str, path: str = "public keys") -> dict[str, Ed25519PublicKey]:
    """From {kid: PEM string or JWK object}. Raises Refused."""
    expected = 'a JSON object {"<kid>": "<PEM>" or {JWK}} of Ed25519 public keys'
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise Refused(Problem(path, "not JSON", expected)) from error
    if not isinstance(entries, dict) or not entries:
        raise Refused(Problem(path, "no keys in it", expected))
    keys = {}
    for kid, entry in entries.items():
        try:
            key = jwt.PyJWK(entry).key if isinstance(entry, dict) else serialization.load_pem_public_key(str(entry).encode())
        except (ValueError, UnsupportedAlgorithm, jwt.PyJWTError) as error:
            raise Refused(Problem(f"{path}[{kid}]", "not a public key", expected)) from error
        if not isinstance(key, Ed25519PublicKey):
            raise Refused(Problem(f"{path}[{kid}]", "not an Ed25519 public key", expected))
        keys[kid] = key
    return keys


def private_pem(key: SigningKey) -> bytes:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.key.private_bytes(encoding, form, serialization.NoEncryption())


def public_json(key: SigningKey) -> str:
    public = key.key.public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return json.dumps({key.kid: pem.decode()}, indent=2) + "\n"


def write_new_key(directory: Path) -> SigningKey:
    """A new pair in this directory; a pair that is there stays. Raises Refused when what is there is no key."""
    directory.mkdir(parents=True, exist_ok=True)
    private, public = directory / "private.pem", directory / "public.json"
    if private.exists():
        key = load_signing_key(private.read_bytes(), str(private))
        if not public.exists():
            public.write_text(public_json(key))
        return key
    key = new_key()
    draft = directory / f".private.pem.{os.getpid()}"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(private_pem(key))
    public.write_text(public_json(key))
    draft.rename(private)  # last: its presence says that the pair is complete
    return key


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m unicorn_core.tokens")
    parser.add_argument("verb", choices=["new-key"])
    parser.add_argument("directory", type=Path, help="gets private.pem (0600) and public.json; a pair that is there stays")
    try:
        key = write_new_key(parser.parse_args().directory)
    except (Refused, OSError) as error:
        sys.stderr.write(f"unicorn-tokens: {error}\n")
        return 2
    sys.stdout.write(f"{key.kid}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
