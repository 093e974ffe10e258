"""Logins to registries, from what `kubectl create secret docker-registry` writes (`.dockerconfigjson`)."""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from unicorn_core.errors import Problem, Refused

from unicorn_operator.registry.reference import DOCKER_HUB, Reference

SECRET_TYPE = "kubernetes.io/dockerconfigjson"  # noqa: S105 a type's name
SECRET_KEY = ".dockerconfigjson"  # noqa: S105 a key's name
_EXPECTED = 'as docker login writes it: {"auths": {"HOST": {"auth": "…"}}}'
_DOCKER_HUB_NAMES = ("index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")


@dataclass(frozen=True, slots=True)
class Login:
    """User and password; or a token that the registry's token service exchanges for others."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


@dataclass(frozen=True, slots=True)
class Credentials:
    """Logins by where they are for: a host, or a host with the beginning of a repository."""

    logins: Mapping[str, Login] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, text: str | bytes, field: str = "credentials") -> Self:
        """Raises Refused, with `field` as its path, and without what the text says."""
        try:
            auths = json.loads(text)["auths"]
            entries = {str(name): dict(entry) for name, entry in auths.items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise Refused(Problem(field, "is no dockerconfigjson", _EXPECTED)) from None  # the cause would show the text
        return cls({_place(name): _login(entry, f"{field}.auths[{name!r}]") for name, entry in entries.items()})

    @classmethod
    def merged(cls, several: Iterable["Credentials"]) -> Self:
        """All together; for the same place the first wins."""
        logins: dict[str, Login] = {}
        for one in several:
            logins = {**one.logins, **logins}
        return cls(logins)

    def of(self, reference: Reference) -> Login | None:
        """The login with the longest place that the reference is in."""
        parts = reference.name.split("/")
        places = ("/".join(parts[:end]) for end in range(len(parts), 0, -1))
        return next((self.logins[place] for place in places if place in self.logins), None)


def _place(name: str) -> str:
    """`https://index.docker.io/v1/` and such are hosts to us."""
    host, _, path = name.removeprefix("https://").removeprefix("http://").strip("/").partition("/")
    path = "" if path in ("v1", "v2") else path
    host = DOCKER_HUB if host.lower() in _DOCKER_HUB_NAMES else host.lower()
    return f"{host}/{path}" if path else host


def _login(entry: Mapping[str, Any], path: str) -> Login:
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if auth := entry.get("auth"):
        try:
            username, _, password = base64.b64decode(str(auth), validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            raise Refused(Problem(f"{path}.auth", "is no base64 of USER:PASSWORD", _EXPECTED)) from None
    return Login(username, password.rstrip("\0"), str(entry.get("identitytoken") or ""))
