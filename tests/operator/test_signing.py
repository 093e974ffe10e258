"""The signing key: made once, kept, shared by replicas; the public half where gateways find it."""

import asyncio
import base64
import json
import stat
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from unicorn_core.errors import Refused
from unicorn_core.tokens import load_public_keys, load_signing_key, verify
from unicorn_kube.resource import CONFIG_MAPS, SECRETS
from unicorn_operator.settings import Settings
from unicorn_operator.signing import CONFIG_MAP, SECRET, USER_SECRET, signer

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def says(token, public):
    return verify(token, load_public_keys(public), NOW)


async def test_a_key_in_a_file(tmp_path):
    private, public = tmp_path / "keys" / "private.pem", tmp_path / "keys" / "public.json"
    settings = Settings(signing_key_file=str(private), signing_public_file=str(public))
    executor = uuid4()
    made = await asyncio.gather(*(signer(settings, None, "") for _ in range(4)))
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    for one in made:
        claims = says(one.sign(executor, 3, NOW + timedelta(hours=1)), public.read_text())
        assert (claims.executor, claims.fence) == (executor, 3)
    assert sorted(path.name for path in private.parent.iterdir()) == ["private.pem", "public.json"]


async def test_a_file_that_is_no_key(tmp_path):
    path = tmp_path / "private.pem"
    path.write_text("nonsense")
    with pytest.raises(Refused, match="not a private key"):
        await signer(Settings(signing_key_file=str(path)), None, "")


@pytest.mark.cluster
async def test_a_key_in_a_secret(kube, lab):
    first, second = await asyncio.gather(*(signer(Settings(), kube, lab.namespace) for _ in range(2)))
    public = (await lab.get(CONFIG_MAPS, CONFIG_MAP))["data"]["public.json"]
    for one in (first, second, await signer(Settings(), kube, lab.namespace)):
        says(one.sign(uuid4(), 1, NOW + timedelta(hours=1)), public)
    assert len(json.loads(public)) == 1
    users = load_signing_key(base64.b64decode((await lab.get(SECRETS, USER_SECRET))["data"]["private.pem"]))
    assert users.kid not in json.loads(public), "users' tokens have a key of their own"
    broken = {"data": {"private.pem": base64.b64encode(b"nonsense").decode()}}
    await kube.patch_merge(SECRETS, lab.namespace, SECRET, broken)
    with pytest.raises(Refused, match=SECRET):
        await signer(Settings(), kube, lab.namespace)
