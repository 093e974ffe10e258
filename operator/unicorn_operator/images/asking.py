"""How environments stand, for whoever needs their images; what is missing is asked for.

An attempt fixes which builds it waits for when it first asks: a tag that moves, or a ConfigMap that is edited, changes nothing
for it any more.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from unicorn_core.errors import Refused, Waiting
from unicorn_core.images import BuildInputs, build_hash, content_hash
from unicorn_core.planning.builds import Build, BuildState, Hopeless, NotYet, Ready, Verdict, judge_builds
from unicorn_core.reasons import EnvironmentReason
from unicorn_core.resources import EnvironmentSpec
from unicorn_store import Store, builds
from unicorn_store.builds import Asked, Requester

from unicorn_operator.images.inputs import InputReader, document_of
from unicorn_operator.images.repository import Repository
from unicorn_operator.images.resolving import Resolved
from unicorn_operator.key import Key
from unicorn_operator.queue import WorkQueue

SOON = timedelta(seconds=1)
OPEN = (BuildState.WAITING, BuildState.RUNNING)
Needs = Mapping[str, tuple[str, BuildInputs | None]]  # platform -> hash, and what it is of where that is known


@dataclass(frozen=True, slots=True)
class Asker:
    """An Experiment or Environment. `only_looks`: it shows how things are, and does not wait for them."""

    key: Key
    uid: UUID
    asked_at: datetime
    only_looks: bool = False

    @property
    def stays(self) -> bool:
        """It shows what becomes of a build also after its end: somebody else may have it tried again."""
        return self.key.kind == "Environment"


@dataclass(frozen=True, slots=True)
class Wanted:
    """An environment; `known`: the builds that were fixed for it earlier, by platform."""

    spec: EnvironmentSpec
    known: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Look:
    """How one environment stands. `hashes`: the builds that it needs, by platform; empty when none, or not known yet."""

    verdict: Verdict
    hashes: Mapping[str, str] = field(default_factory=dict)
    builds: Sequence[Build] = ()
    resolved: bool = False  # a registry was asked for an image that others made

    @property
    def content(self) -> str:
        return content_hash(self.hashes.values()) if self.hashes else ""


@dataclass(slots=True)
class Images:
    """Made once, by the leader. `repository`: where built images are; None where nothing is built."""

    store: Store
    queue: WorkQueue
    inputs: InputReader
    repository: Repository | None
    resolves: bool
    begin: Callable[[], None]  # builds were asked for
    _concerned: dict[str, set[Key]] = field(default_factory=lambda: defaultdict(set))  # hash -> who looked at it

    async def look(self, asker: Asker, environments: Mapping[str, Wanted]) -> dict[str, Look]:
        """How each of these stands: they are all that this asker waits for.

        Where a registry or an object is waited for, the asker's key comes back by itself. Raises StoreUnavailable, Broken.
        """
        found: dict[str, Look] = {}
        needed: dict[str, Needs] = {}
        unsure = False  # what one of them needs cannot be told now
        told = await asyncio.gather(*(self._told(wanted, asker.key.namespace) for wanted in environments.values()))
        for name, answer in zip(environments, told, strict=True):
            if isinstance(answer, Waiting | Refused):
                found[name] = self._cannot(answer, asker)
                unsure = unsure or isinstance(answer, Waiting)
            elif isinstance(answer, Look):
                found[name] = answer
            else:
                needed[name] = answer
        if needed or not asker.only_looks:
            rows = await self._rows(asker, environments, needed, unsure)
            looks = [self._look(asker, environments[name], needs, rows) for name, needs in needed.items()]
            found |= zip(needed, await asyncio.gather(*looks), strict=True)
        return {name: found[name] for name in environments}

    async def platforms(self, spec: EnvironmentSpec, namespace: str) -> frozenset[str] | None:
        """The architectures that it has, or will have, an image for; None where that does not matter, or is not known."""
        if spec.build is not None:
            return frozenset(map(str, spec.build.platforms))
        if spec.image is None or not self.resolves:
            return None
        try:
            resolved = await self._resolve(spec, namespace)
        except (Waiting, Refused):
            return None  # Preparing says so
        return frozenset(one.platform for one in resolved.images) or None

    def changed(self, hash: str) -> None:
        """Something was recorded about this build: whoever looked at it looks again."""
        for key in self._concerned.get(hash, ()):
            self.queue.add(key)

    def over(self, hash: str) -> None:
        """The same; who goes on looking is there again when it has looked."""
        self.changed(hash)
        self._concerned.pop(hash, None)

    def gone(self, key: Key) -> None:
        """It exists no more."""
        for hash in [hash for hash, keys in self._concerned.items() if key in keys]:
            self._leave(hash, key)

    async def _told(self, wanted: Wanted, namespace: str) -> Look | Needs | Waiting | Refused:
        """All environments are asked for at once: registries that hang are waited for together."""
        try:
            return await self._needs(wanted, namespace)
        except (Waiting, Refused) as error:
            return error

    async def _needs(self, wanted: Wanted, namespace: str) -> Look | Needs:
        """How it stands; or which builds it needs. Raises Waiting, Refused, Broken."""
        spec = wanted.spec
        if spec.image is not None and self.resolves:
            return Look(Ready((await self._resolve(spec, namespace)).refs()), resolved=True)
        if spec.build is None:
            return Look(Ready({}))
        if self.repository is None or not self.inputs.agent_sha256:
            missing = "UNICORN_BUILDER" if self.repository is None else "UNICORN_AGENT_PATH"
            message = f"the operator builds no images ({missing} is not set); build one yourself, and name it in spec.image.ref"
            return Look(Hopeless(EnvironmentReason.BUILD_NOT_AVAILABLE, message))
        if wanted.known:
            return {platform: (hash, None) for platform, hash in wanted.known.items()}
        read = await self.inputs.read(spec.build, namespace)
        return {platform: (build_hash(inputs), inputs) for platform, inputs in read.items()}

    async def _resolve(self, spec: EnvironmentSpec, namespace: str) -> Resolved:
        if spec.image is None:
            raise ValueError("only an image that others made is resolved")
        secret = spec.image.pull_secret_ref.name if spec.image.pull_secret_ref else ""
        return await self.inputs.resolver.resolve(spec.image.ref, namespace, secret, "spec.image.ref")

    async def _rows(
        self, asker: Asker, environments: Mapping[str, Wanted], needed: Mapping[str, Needs], unsure: bool
    ) -> dict[str, Build]:
        """hash -> how it stands, once it was asked for. `unsure`: what was asked for earlier may be needed still."""
        asked: dict[str, Asked] = {}
        for name, needs in needed.items():
            token, secret = _wish(environments[name].spec, asker.key.namespace)
            for platform, (hash, inputs) in needs.items():
                self._concerned[hash].add(asker.key)
                if hash not in asked or token:
                    asked[hash] = Asked(hash, platform, document_of(inputs) if inputs else None, token, secret)
        if asker.only_looks:
            rows = await builds.read_builds(self.store, list(asked))
        elif asked:
            requester = Requester(asker.uid, asker.key.namespace, asker.asked_at)
            rows = await builds.request_builds(self.store, requester, list(asked.values()), keep_others=unsure)
        else:
            if not unsure:
                await builds.withdraw_requests(self.store, asker.uid)
            rows = []
        if any(one.state is BuildState.WAITING for one in rows):
            self.begin()
        for one in rows:
            if not asker.stays and one.state not in OPEN:
                self._leave(one.hash, asker.key)
        return {one.hash: one for one in rows}

    def _leave(self, hash: str, key: Key) -> None:
        self._concerned[hash].discard(key)
        if not self._concerned[hash]:
            del self._concerned[hash]

    async def _look(self, asker: Asker, wanted: Wanted, needs: Needs, rows: Mapping[str, Build]) -> Look:
        hashes = {platform: hash for platform, (hash, _) in needs.items()}
        found = [rows[hash] for hash in hashes.values() if hash in rows]
        if len(found) < len(hashes):
            return self._unknown(asker, wanted, hashes)
        verdict = judge_builds(found)
        if not isinstance(verdict, Ready) or self.repository is None:
            return Look(verdict, hashes, found)
        lost = await asyncio.gather(*(self.repository.lost(one.image) for one in found))
        if gone := [one for one, is_lost in zip(found, lost, strict=True) if is_lost]:
            for one in gone:
                await builds.forget_image(self.store, one.hash, one.image)
            self.queue.add_after(asker.key, SOON)
            return Look(NotYet(EnvironmentReason.BUILDING, "its image is in the registry no more"), hashes, found)
        if len(found) > 1:
            try:
                index = await self.repository.index(content_hash(hashes.values()), found)
            except (Waiting, Refused) as error:
                return self._cannot(error, asker)
            verdict = Ready({**verdict.images, "*": index})
        return Look(verdict, hashes, found)

    def _unknown(self, asker: Asker, wanted: Wanted, hashes: Mapping[str, str]) -> Look:
        """Some of its builds are in no record: they were never asked for, or their records are gone."""
        if asker.only_looks:
            return Look(NotYet(EnvironmentReason.BUILDING, "its build was not asked for yet"), hashes)
        self.queue.add_after(asker.key, SOON)
        return Look(NotYet(EnvironmentReason.BUILDING, "its build is asked for again"))  # without hashes: they are found anew

    def _cannot(self, error: Waiting | Refused, asker: Asker) -> Look:
        if isinstance(error, Refused):
            return Look(Hopeless(error.reason, str(error)))
        self.queue.add_after(asker.key, error.retry_after)
        return Look(NotYet(error.reason, error.message))


def _wish(spec: EnvironmentSpec, namespace: str) -> tuple[str, str]:
    """Token and pull secret."""
    if spec.build is None:
        return "", ""
    token = f"{namespace}/{spec.build.rebuild}" if spec.build.rebuild else ""
    return token, spec.build.pull_secret_ref.name if spec.build.pull_secret_ref else ""
