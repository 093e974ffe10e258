"""From the name of an image to its digests. Answers are kept for a short while: a hundred experiments ask one question.

What a digest stands for never changes: that is kept for longer, for each who may have it.
"""

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from unicorn_core.errors import Problem, Refused
from unicorn_core.reasons import EnvironmentReason

from unicorn_operator.images.credentials import CredentialReader
from unicorn_operator.images.questions import Questions
from unicorn_operator.registry import Credentials, PlatformImage, Reference, Registries

_FRESH_SECONDS = 30.0
_KEPT = 2000

Had = tuple[str, str, str, str]  # repository, digest, and the namespace and pull secret of who had it from there
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Resolved:
    """`digest`: of what the name leads to, an index or the only image. `images`: by platform."""

    reference: Reference
    digest: str
    images: tuple[PlatformImage, ...]

    def refs(self) -> dict[str, str]:
        """Platform -> repository@digest; `*`: for a node whose architecture is not known."""
        found = {one.platform: str(self.reference.at(one.manifest.digest)) for one in self.images}
        return {**found, "*": str(self.reference.at(self.digest))}

    def of(self, platform: str, field: str) -> str:
        """Raises Refused."""
        found = self.refs()
        if platform not in found:
            there = ", ".join(sorted(found.keys() - {"*"})) or "no known platform"
            problem = Problem(field, f"{self.reference} has no image for {platform}", f"it has {there}")
            raise Refused(problem, EnvironmentReason.PLATFORM_MISSING)
        return found[platform]


class _Recent(OrderedDict[Had, T], Generic[T]):
    """What was known last; the oldest is forgotten."""

    def keep(self, key: Had, value: T) -> T:
        self[key] = value
        self.move_to_end(key)
        if len(self) > _KEPT:
            self.popitem(last=False)
        return value


@dataclass(slots=True)
class Resolver:
    registries: Registries
    credentials: CredentialReader
    questions: Questions
    _images: _Recent[tuple[PlatformImage, ...]] = field(default_factory=_Recent)
    _manifests: _Recent[bool] = field(default_factory=_Recent)

    async def resolve(self, text: str, namespace: str, pull_secret: str, field: str, platforms: Collection[str] = ()) -> Resolved:
        """Asks with that namespace's credentials; without a namespace, with the operator's. Raises Waiting, Refused, Broken.

        `platforms`: what an index says of them is not enough, their manifests are to be had from that very repository. Anybody
        may list anybody's digest.
        """
        reference, wanted = Reference.parse(text, field), tuple(sorted(platforms))
        ask = partial(self._ask, reference, namespace, pull_secret, field, wanted)
        question = ("resolve", text, namespace, pull_secret, field, wanted)
        return await self.questions.answer(question, reference.registry, ask, lambda _: _FRESH_SECONDS)

    async def _ask(
        self, reference: Reference, namespace: str, pull_secret: str, field: str, platforms: Collection[str]
    ) -> Resolved:
        if namespace:
            credentials = await self.credentials.of_user(namespace, pull_secret, f"{field} pullSecretRef")
        else:
            credentials = await self.credentials.ours()
        top = await self.registries.find(reference, credentials, field)
        if top is None:
            expected = "the name of an image that exists"
            problem = Problem(field, f"{reference.registry} has no {reference}", expected, str(reference))
            raise Refused(problem, EnvironmentReason.IMAGE_NOT_FOUND)
        had = (reference.name, top.digest, namespace, pull_secret)
        images = self._images.get(had) or await self._read(reference.at(top.digest), credentials, field, had)
        for one in images:
            digest = one.manifest.digest
            if one.platform in platforms and digest != top.digest:
                await self._have(reference.at(digest), credentials, field, (reference.name, digest, namespace, pull_secret))
        return Resolved(reference, top.digest, images)

    async def _read(self, reference: Reference, credentials: Credentials, field: str, had: Had) -> tuple[PlatformImage, ...]:
        return self._images.keep(had, await self.registries.images(reference, credentials, field))

    async def _have(self, reference: Reference, credentials: Credentials, field: str, had: Had) -> None:
        if had not in self._manifests:
            await self.registries.manifest(reference, credentials, field)
            self._manifests.keep(had, True)
