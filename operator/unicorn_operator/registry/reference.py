"""References to images, as people write them: `python:3.12-slim`, `ghcr.io/lab/tool@sha256:…`, `10.0.0.1:5000/a/b`."""

import re
from dataclasses import dataclass, replace
from typing import Self

from unicorn_core.errors import Problem, Refused

DOCKER_HUB = "docker.io"
_EXPECTED = "[HOST[:PORT]/]REPOSITORY[:TAG][@sha256:DIGEST], such as python:3.12-slim"
_ALIASES = {"index.docker.io": DOCKER_HUB, "registry-1.docker.io": DOCKER_HUB}
_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\])(?::[0-9]{{1,5}})?", re.IGNORECASE)
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_LONGEST = 255  # of registry and repository together, as the distribution has it


@dataclass(frozen=True, slots=True)
class Reference:
    """One image or repository. Tag and digest may be empty; with both, the digest decides."""

    registry: str  # HOST[:PORT]; docker.io for Docker Hub
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str, field: str = "image") -> Self:
        """Without a tag and a digest the tag is `latest`, as everywhere. Raises Refused, with `field` as its path."""
        named, _, digest = text.partition("@")
        head, _, last = named.rpartition("/")
        last, _, tag = last.partition(":")
        registry, repository = _split(f"{head}/{last}" if head else last)
        for what, value, pattern in (
            ("registry", registry, _HOST),
            ("repository", repository, _REPOSITORY),
            ("tag", tag, _TAG),
            ("digest", digest, _DIGEST),
        ):
            written = {"tag": ":" in named.rpartition("/")[2], "digest": "@" in text}.get(what, True)
            if written and not pattern.fullmatch(value):
                raise Refused(Problem(field, f"{value!r} is no valid {what}", _EXPECTED, text))
        if len(registry) + len(repository) + 1 > _LONGEST:
            raise Refused(Problem(field, f"is longer than {_LONGEST} characters", _EXPECTED, text))
        return cls(registry, repository, tag or ("" if digest else "latest"), digest)

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"

    @property
    def version(self) -> str:
        """The digest, else the tag: what a registry is asked for."""
        return self.digest or self.tag

    def at(self, digest: str) -> Self:
        """The same repository at this digest, without a tag."""
        return replace(self, tag="", digest=digest)

    def tagged(self, tag: str) -> Self:
        """The same repository under this tag."""
        return replace(self, tag=tag, digest="")

    def __str__(self) -> str:
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def _split(name: str) -> tuple[str, str]:
    """Registry and repository. A first part is a host when it has a dot or a colon, or is localhost."""
    first, slash, rest = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        first, rest = DOCKER_HUB, name
    registry = _ALIASES.get(first.lower(), first.lower())
    return registry, f"library/{rest}" if registry == DOCKER_HUB and "/" not in rest else rest
