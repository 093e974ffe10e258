"""Those whom Kubernetes knows: ServiceAccounts and users of kubectl, by the token that they show to its API (TokenReview)."""

import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from unicorn_core.access import tags_of_groups
from unicorn_core.admission.arguments import RESOURCE, VERB
from unicorn_kube import KubeClient
from unicorn_kube.resource import TOKEN_REVIEWS

from unicorn_gateway import settings
from unicorn_gateway.user_api.authentication.method import USER_PREFIX, Method, Parts
from unicorn_gateway.user_api.authorisation import Authorizer
from unicorn_gateway.user_api.callers import Caller
from unicorn_gateway.user_api.settings import Names

_SECONDS = 10.0  # an answer counts for so long
_ANSWERS = 10_000
_ACCOUNT = "system:serviceaccount:"


class KubernetesSettings(BaseSettings):
    """Of the method `kubernetes`."""

    model_config = SettingsConfigDict(env_prefix="UNICORN_KUBERNETES_", extra="ignore", frozen=True)

    audiences: Annotated[Names, Field(description="one of which a token must be meant for; empty: the API server's")] = ()
    namespace: Annotated[str, Field(description="home of users that are no ServiceAccount")] = "default"


def make(parts: Parts) -> Method:
    return Kubernetes(parts.kube, settings.load(KubernetesSettings))


@dataclass(eq=False)
class Kubernetes(Method):
    kube: KubeClient
    settings: KubernetesSettings
    _answers: OrderedDict[bytes, tuple[float, Caller | None]] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self._authorizer = Authorizer(self.kube)

    def remembers(self, token: str) -> bool:
        known = self._answers.get(_name(token))
        return known is not None and known[1] is not None

    async def by_token(self, token: str) -> Caller | None:
        name = _name(token)
        known = self._answers.get(name)
        now = time.monotonic()
        if known is not None and now - known[0] < _SECONDS:
            return known[1]
        caller = await self._review(token)
        self._answers[name] = (now, caller)
        self._answers.move_to_end(name)
        if len(self._answers) > _ANSWERS:
            self._answers.popitem(last=False)
        return caller

    async def _review(self, token: str) -> Caller | None:
        spec: dict[str, Any] = {"token": token}
        if self.settings.audiences:
            spec["audiences"] = list(self.settings.audiences)
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        status = (await self.kube.create(TOKEN_REVIEWS, body)).get("status") or {}
        if not status.get("authenticated"):
            return None
        if self.settings.audiences and not set(self.settings.audiences) & set(status.get("audiences") or ()):
            return None  # an API server that does not know audiences
        user = status.get("user") or {}
        username, groups = str(user.get("username") or ""), tuple(user.get("groups") or ())
        if not username or username.startswith(USER_PREFIX):
            return None  # whoever else bears the name of a user that logs in here is not taken for them
        namespace = self._home(username)
        caller = Caller(username, username, groups, namespace, tags_of_groups(groups))
        return Caller(username, username, groups, namespace, caller.tags, await self._sudo(caller))

    def _home(self, username: str) -> str:
        return username.removeprefix(_ACCOUNT).partition(":")[0] if username.startswith(_ACCOUNT) else self.settings.namespace

    async def _sudo(self, caller: Caller) -> bool:
        return await self._authorizer.may(caller, VERB, RESOURCE, caller.namespace)


def _name(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
