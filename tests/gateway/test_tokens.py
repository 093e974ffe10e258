"""Executor tokens, and the file of public keys."""

import json
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import jwt
import pytest
from unicorn_core import tokens
from unicorn_core.errors import Refused
from unicorn_core.tokens import Claims, TokenRefused
from unicorn_gateway.executor_api.keys import KeyRing

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_what_was_signed_is_what_is_verified():
    key, executor = tokens.new_key(), uuid4()
    keys = tokens.load_public_keys(tokens.public_json(key))
    token = tokens.sign(executor, 7, NOON + HOUR, key)
    assert tokens.verify(token, keys, NOON) == Claims(executor, 7, NOON + HOUR)
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "kid": key.kid, "typ": "JWT"}
    with pytest.raises(TokenRefused, match="expired"):
        tokens.verify(token, keys, NOON + HOUR)
    with pytest.raises(TokenRefused, match="unknown key"):
        tokens.verify(token, {}, NOON)
    head, body, signature = token.split(".")
    for broken in ("", "x", f"{head}.{body}", f"{head}.{body}.{signature[::-1]}", token * 20):
        with pytest.raises(TokenRefused):
            tokens.verify(broken, keys, NOON)


def test_new_key_makes_a_pair_once(tmp_path):
    def run():
        command = [sys.executable, "-m", "unicorn_core.tokens", "new-key", str(tmp_path / "keys")]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    kid = run()
    private = tmp_path / "keys" / "private.pem"
    before = private.read_bytes()
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert run() == kid
    assert private.read_bytes() == before
    signed = tokens.sign(uuid4(), 1, NOON + HOUR, tokens.load_signing_key(before))
    assert tokens.verify(signed, tokens.load_public_keys((tmp_path / "keys" / "public.json").read_text()), NOON)


def test_jwk_and_directories(tmp_path):
    one, two = tokens.new_key(), tokens.new_key()
    jwk = jwt.algorithms.OKPAlgorithm.to_jwk(one.key.public_key(), as_dict=True)
    (tmp_path / "one.json").write_text(json.dumps({one.kid: jwk}))
    (tmp_path / "two.json").write_text(tokens.public_json(two))
    ring = KeyRing(tmp_path)
    ring.load()
    assert set(ring.keys) == {one.kid, two.kid}
    assert not ring.refresh()
    (tmp_path / "one.json").unlink()
    assert ring.refresh()
    assert set(ring.keys) == {two.kid}
    (tmp_path / "two.json").write_text("{")
    assert not ring.refresh(), "the old ones stay"
    assert set(ring.keys) == {two.kid}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"k": "x"}', '{"k": {"kty": "oct", "k": "eA"}}', '{"k": 1}'])
def test_what_is_no_key_is_refused(text):
    with pytest.raises(Refused):
        tokens.load_public_keys(text)
