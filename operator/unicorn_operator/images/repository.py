"""The repository that built images are in: is one there, one with the agent in it, an index over several."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from math import inf

from unicorn_core.errors import Broken, Refused, Waiting
from unicorn_core.planning.builds import Build

from unicorn_operator.images.credentials import CredentialReader
from unicorn_operator.images.questions import Questions
from unicorn_operator.registry import Addition, Descriptor, Reference, Registries

_SEEN_SECONDS = 60.0  # what the registry had is not asked for again for so long
FIELD = "UNICORN_BUILD_REGISTRY"
_MENDED = timedelta(seconds=30)


@dataclass(slots=True)
class Repository:
    name: Reference
    registries: Registries
    credentials: CredentialReader
    questions: Questions
    agent: Addition

    async def find(self, tag: str) -> Descriptor | None:
        """What is under this tag. Raises Waiting, Broken."""
        with _waiting_for_us():
            return await self.registries.find(self.name.tagged(tag), await self.credentials.ours(), FIELD)

    async def add_agent(self, version: str, tag: str) -> Descriptor | None:
        """Push what is under this tag or digest with the agent in it; None when nothing is. Raises Waiting, Broken."""
        image = self.name.at(version) if version.startswith("sha256:") else self.name.tagged(version)
        with _waiting_for_us():
            return await self.registries.extend(image, self.agent, tag, await self.credentials.ours(), FIELD)

    async def lost(self, image: str) -> bool:
        """Whether it is in another repository than ours is now, or the registry has it no more. No answer is no evidence."""
        if image.rpartition("@")[0] != self.name.name:
            return True
        ask = partial(self._gone, Reference.parse(image))
        try:
            return await self.questions.answer(
                ("lost", image), self.name.registry, ask, lambda gone: 0.0 if gone else _SEEN_SECONDS
            )
        except Waiting:
            return False

    async def _gone(self, image: Reference) -> bool:
        try:
            return await self.registries.find(image, await self.credentials.ours(), FIELD) is None
        except (Waiting, Refused, Broken):
            return False

    async def index(self, tag: str, builds: Sequence[Build]) -> str:
        """One that names the images of all these, made if it is not there. Raises Waiting, Broken."""
        question = ("index", *sorted(one.image for one in builds))
        return await self.questions.answer(question, self.name.registry, partial(self._put, tag, builds), lambda _: inf)

    async def _put(self, tag: str, builds: Sequence[Build]) -> str:
        images = {one.platform: Descriptor(one.media_type, one.image.rpartition("@")[2], one.size) for one in builds}
        with _waiting_for_us():
            made = await self.registries.put_index(self.name.tagged(tag), images, await self.credentials.ours(), FIELD)
        return str(self.name.at(made.digest))


@contextmanager
def _waiting_for_us() -> Iterator[None]:
    """What our own registry refuses is the operator's people's to mend, and nothing to who asks for an image."""
    try:
        yield
    except Refused as refused:
        raise Waiting(refused.reason, str(refused), _MENDED) from refused
