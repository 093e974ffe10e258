"""Experiments by the names that their users gave them: found, made, and forgotten when their resource is gone."""

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from unicorn_core.errors import ApiRefused, ApiUnavailable, Conflict, NotFound
from unicorn_core.naming import ANNOTATION_NAME, API_VERSION
from unicorn_kube import KubeClient
from unicorn_kube.resource import ENVIRONMENTS, EXPERIMENTS
from unicorn_store import Store, mediator
from unicorn_store.mediator import Mediated, Named

from unicorn_gateway.problems import ProblemError
from unicorn_gateway.user_api.mediator import answers, contexts, texts
from unicorn_gateway.user_api.mediator.answers import Status
from unicorn_gateway.user_api.mediator.messages import Context
from unicorn_gateway.user_api.mediator.names import is_storable, shown_names
from unicorn_gateway.user_api.mediator.owning import Object, owner_reference

PRIVATE = "private"  # in a manifest: an authentication context belongs to it, which is kept in its Secret and nowhere else
_MAKING = timedelta(minutes=2)  # longer than a request takes to make one
_log = structlog.get_logger(__name__)
_RESOURCE = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Found:
    """`row`: as the client ordered it; None: it was made otherwise. `item`: the Experiment; None: there is none behind it, or
    none yet, perhaps because of `trouble`."""

    name: str
    row: Mediated | None
    item: Object | None
    trouble: str = ""

    @property
    def experiment(self) -> answers.Experiment:
        if self.item is not None:
            uid, attempt = UUID(self.item["metadata"]["uid"]), answers.attempt_of(self.item)
            return answers.Experiment(self.name, uid, attempt, self.status)
        assert self.row is not None
        return answers.Experiment(self.name, self.row.id, 1, self.status, self.row.error, self.trouble)

    @property
    def status(self) -> Status:
        if self.item is not None:
            desired = (self.item.get("spec") or {}).get("desiredState") or "Running"
            return answers.status_of((self.item.get("status") or {}).get("phase"), desired)
        assert self.row is not None
        if self.row.manifest is not None:
            return Status.PREPARING
        return Status.READY if self.row.ended is None else Status.FINISHED


@dataclass(frozen=True, slots=True)
class Experiments:
    """Those of one namespace. Each method raises StoreUnavailable, ApiUnavailable."""

    store: Store
    kube: KubeClient
    namespace: str

    async def find(self, name: str) -> Found | None:
        row = await self._row(name)
        if row is not None and (found := await self._of_row(row)) is not None:
            return found
        item = await self._by_resource_name(name)
        if item is None:
            item = (await self._shown(await mediator.names(self.store, self.namespace))).get(name)
        return None if item is None else Found(name, None, item)

    async def require(self, name: str) -> Found:
        """Raises ProblemError 400."""
        found = await self.find(name)
        if found is None:
            raise texts.not_found(name)
        return found

    async def all(self) -> AsyncGenerator[Found, None]:
        """Those that the client ordered, oldest first; then the others. One after another: what was ordered may be large."""
        rows = await mediator.names(self.store, self.namespace)
        shown = await self._shown(rows)
        away = ""
        for named in rows:
            living = shown.pop(named.name, None)
            row = await mediator.by_name(self.store, self.namespace, named.name)
            if row is None or row.id != named.id:
                continue  # forgotten meanwhile
            if living is not None:
                yield Found(row.name, row, living)
            elif away and row.manifest is not None:  # once is enough: each try may take long
                yield Found(row.name, row, None, away)
            elif (one := await self._listed(row)) is not None:
                away = one.trouble
                yield one
        for name, item in shown.items():
            yield Found(name, None, item)

    async def _listed(self, row: Mediated) -> Found | None:
        try:
            return await self._of_row(row)
        except ProblemError as refused:
            _log.info("an experiment was refused", name=row.name, namespace=self.namespace, error=refused.detail)
            return None

    async def make(self, row: Mediated, authentication: Context | None = None) -> Object:
        """Its Experiment, and what belongs to it: Environments, the Secret of its contexts. Doing it twice does it once.
        Raises ProblemError 400 when Kubernetes refuses it: then nothing is left of it; ApiUnavailable: whoever looks next makes
        it."""
        assert row.manifest is not None
        try:
            item = await self._make_experiment(row, row.manifest["experiment"])
            for name, spec in row.manifest["environments"].items():
                await self._make_environment(name, spec, item)
            told = {"deployment": row.orders["context"], "authentication": authentication}
            await contexts.keep(self.kube, item, "contexts", told)
        except (ApiRefused, NotFound) as error:
            await self.undo(row)
            raise texts.declined(f"Kubernetes refuses the experiment: {error}") from error
        except ProblemError:
            await self.undo(row)
            raise
        if not await mediator.made(self.store, row.id, UUID(item["metadata"]["uid"])):
            await self.unmake(row)
            raise texts.not_found(row.name)
        return item

    async def undo(self, row: Mediated) -> None:
        """The name is free, and nothing of it is there. Whoever is making it just now finds that out, and unmakes it again."""
        await mediator.forget(self.store, row.id)
        await self.unmake(row)

    async def unmake(self, row: Mediated) -> None:
        """Delete its Experiment, if there is one: what belongs to it goes with it."""
        try:
            await self.kube.delete(EXPERIMENTS, self.namespace, row.resource)
        except (NotFound, Conflict):
            pass  # it was never made, or somebody else has deleted it

    async def forget_unmade(self, name: str) -> bool:
        """False: there is none of that name whose Experiment is still to be made."""
        row = await self._row(name)
        if row is None or row.manifest is None:
            return False
        await self.undo(row)
        return True

    async def _make_experiment(self, row: Mediated, manifest: Object) -> Object:
        for last in (False, False, True):
            try:
                return await self.kube.create(EXPERIMENTS, manifest, self.namespace)
            except Conflict:
                break
            except ApiUnavailable:  # a large one may take longer than an answer is waited for; its name is its own
                if last:
                    raise
        return await self.kube.get(EXPERIMENTS, self.namespace, row.resource)

    async def _make_environment(self, name: str, spec: Mapping[str, Any], owner: Object) -> None:
        metadata = {"name": name, "namespace": self.namespace, "ownerReferences": [owner_reference(owner)]}
        body = {"apiVersion": API_VERSION, "kind": "Environment", "metadata": metadata, "spec": spec}
        try:
            await self.kube.create(ENVIRONMENTS, body, self.namespace)
        except Conflict:
            pass  # made before

    async def _row(self, name: str) -> Mediated | None:
        return await mediator.by_name(self.store, self.namespace, name) if is_storable(name) else None

    async def _of_row(self, row: Mediated) -> Found | None:
        """None: its resource is gone or going, and its name free."""
        if row.manifest is not None:
            return await self._unmade(row)
        if row.uid is None:
            return Found(row.name, row, None)
        living = await self._living(row.resource)
        if living is not None and living["metadata"]["uid"] == str(row.uid):
            return Found(row.name, row, living)
        await mediator.forget(self.store, row.id)
        return None

    async def _unmade(self, row: Mediated) -> Found | None:
        """Made now. While it cannot be made it is PREPARING; one with a context that nobody but its user's own request knows
        is undone when that request has died."""
        assert row.manifest is not None
        if row.manifest.get(PRIVATE):
            if row.age < _MAKING:
                return Found(row.name, row, None)
            await self.undo(row)
            return None
        try:
            item = await self.make(row)
        except ApiUnavailable as error:
            _log.warning("an experiment cannot be made yet", name=row.name, namespace=self.namespace, error=str(error))
            return Found(row.name, row, None, texts.not_made_yet(str(error)))
        return Found(row.name, replace(row, uid=UUID(item["metadata"]["uid"]), manifest=None), item)

    async def _living(self, resource: str) -> Object | None:
        try:
            item = await self.kube.get(EXPERIMENTS, self.namespace, resource)
        except NotFound:
            return None
        return None if item["metadata"].get("deletionTimestamp") else item

    async def _by_resource_name(self, name: str) -> Object | None:
        """One that was not made by the client and bears this name itself."""
        item = await self._living(name) if _RESOURCE.fullmatch(name) else None
        annotated = (item["metadata"].get("annotations") or {}).get(ANNOTATION_NAME) if item else None
        return item if annotated in (None, name) else None

    async def _shown(self, rows: Sequence[Named]) -> dict[str, Object]:
        taken = {row.name: str(row.uid or "") for row in rows}
        unmade = {row.resource for row in rows if row.unmade}  # an Experiment that lacks something yet is its row's
        listed = (await self.kube.list(EXPERIMENTS, self.namespace)).items
        items = [item for item in listed if item["metadata"]["name"] not in unmade]
        return {name: dict(item) for name, item in shown_names(items, taken).items()}
