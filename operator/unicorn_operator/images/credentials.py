"""Credentials of registries: ours to push with, the users' to pull with. Secrets pass through here and are kept nowhere."""

import asyncio
import base64
import binascii
import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from unicorn_core.errors import NotFound, Problem, Refused, Waiting
from unicorn_core.reasons import EnvironmentReason
from unicorn_kube import KubeClient
from unicorn_kube.resource import SECRETS

from unicorn_operator.registry import Credentials, Login, Reference
from unicorn_operator.registry.credentials import SECRET_KEY

PUSH = "UNICORN_BUILD_REGISTRY_SECRET"
FILE = "UNICORN_BUILD_REGISTRY_CREDENTIALS_FILE"
_MENDED = timedelta(seconds=30)  # by the operator's people


@dataclass(frozen=True, slots=True)
class CredentialReader:
    """`namespace`: the operator's own, where its Secret lies."""

    kube: KubeClient
    namespace: str
    secret: str = ""
    file: str = ""

    async def push(self) -> bytes:
        """Our own, as dockerconfigjson; empty where there are none. Raises Waiting (also for what is no such thing), Broken."""
        try:
            if self.secret:
                return _checked(await self.of_secret(self.namespace, self.secret, PUSH), PUSH)
            return _checked(await asyncio.to_thread(Path(self.file).read_bytes), FILE) if self.file else b""
        except OSError as error:
            message = f"{FILE}: cannot read {self.file}: {error.strerror}"
            raise Waiting(EnvironmentReason.REGISTRY_UNAUTHORIZED, message, _MENDED) from error
        except Refused as error:
            raise Waiting(EnvironmentReason.REGISTRY_UNAUTHORIZED, str(error), _MENDED) from error

    async def ours(self) -> Credentials:
        """The same, read; anonymous where there are none."""
        text = await self.push()
        return Credentials.parse(text, PUSH) if text else Credentials()

    async def of_secret(self, namespace: str, name: str, field: str) -> bytes:
        """The dockerconfigjson of this Secret. Raises Waiting when it does not exist, Refused when it is no such thing."""
        try:
            secret = await self.kube.get(SECRETS, namespace, name)
        except NotFound as error:
            message = f"{field}: there is no Secret {name} in namespace {namespace}"
            raise Waiting(EnvironmentReason.REFERENCE_NOT_FOUND, message) from error
        try:
            return base64.b64decode((secret.get("data") or {})[SECRET_KEY], validate=True)
        except (KeyError, binascii.Error) as error:
            problem = Problem(
                field, f"Secret {namespace}/{name} has no {SECRET_KEY}", "a Secret of type kubernetes.io/dockerconfigjson"
            )
            raise Refused(problem) from error

    async def of_user(self, namespace: str, name: str, field: str) -> Credentials:
        """To pull with; anonymous without a name."""
        return Credentials.parse(await self.of_secret(namespace, name, field), field) if name else Credentials()


def _checked(text: bytes, field: str) -> bytes:
    Credentials.parse(text, field)
    return text


def for_build(push: bytes, users: Credentials, base: Reference) -> bytes:
    """Ours, and of the user's only the login for this very base: one dockerconfigjson, or nothing."""
    auths: dict[str, Any] = dict(json.loads(push)["auths"]) if push else {}
    if (login := users.of(base)) is not None:
        auths[base.name] = _entry(login)  # the longest name wins: ours for the same host does not hide it
    return json.dumps({"auths": auths}).encode() if auths else b""


def _entry(login: Login) -> dict[str, str]:
    entry = {"auth": base64.b64encode(f"{login.username}:{login.password}".encode()).decode()}
    return entry | ({"identitytoken": login.identity_token} if login.identity_token else {})
