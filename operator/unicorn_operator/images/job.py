"""Builds as Jobs in the operator's namespace."""

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from unicorn_core.errors import Broken, Conflict, NotFound, shorten
from unicorn_core.images import BuildReport, BuildResult
from unicorn_core.naming import LABEL_BUILD
from unicorn_core.planning.builds import Seen, Stage
from unicorn_kube import KubeClient
from unicorn_kube.resource import CONFIG_MAPS, JOBS, PODS, SECRETS

from unicorn_operator.images.builders import LOG_END_LINES, LOG_LIMIT, BuildOrder, step_in
from unicorn_operator.images.job_manifest import JobTerms, objects

_UNREMARKABLE = ("ContainerCreating", "PodInitializing", "")
_LOOK_LINES = 500


@dataclass(slots=True)
class JobBuilder:
    kube: KubeClient
    terms: JobTerms
    look_every: ClassVar = timedelta(seconds=1)  # by two lists, and a log for each build

    async def start(self, order: BuildOrder) -> None:
        config_map, secret, job = objects(order, self.terms)
        for resource, body in ((CONFIG_MAPS, config_map), (SECRETS, secret), (JOBS, job)):
            if body is not None:
                with contextlib.suppress(Conflict):  # it is there
                    await self.kube.create(resource, body)

    async def look(self, names: Collection[str]) -> Mapping[str, Seen]:
        jobs = await self._by_name(JOBS)
        pods = await self._by_name(PODS)
        return {name: await self._seen(name, jobs.get(name), pods.get(name)) for name in names}

    async def log(self, name: str) -> str:
        pod = (await self._by_name(PODS)).get(name)
        if pod is None:
            return ""
        at = (self.terms.namespace, pod["metadata"]["name"])
        text = await self.kube.log(*at, limit_bytes=LOG_LIMIT)
        if len(text.encode()) < LOG_LIMIT:
            return text
        end = await self.kube.log(*at, last_lines=LOG_END_LINES, limit_bytes=LOG_LIMIT)
        return f"{text[: LOG_LIMIT // 2]}\n… the middle of the log is left out …\n{end[-LOG_LIMIT // 2 :]}"

    async def remove(self, name: str) -> None:
        for resource in (JOBS, SECRETS, CONFIG_MAPS):
            with contextlib.suppress(NotFound):
                await self.kube.delete(resource, self.terms.namespace, name, propagation="Background")

    async def sweep(self, keep: Collection[str]) -> None:
        for resource in (JOBS, SECRETS, CONFIG_MAPS):
            for name in await self._by_name(resource):
                if name not in keep:
                    with contextlib.suppress(NotFound):
                        await self.kube.delete(resource, self.terms.namespace, name, propagation="Background")

    async def close(self) -> None:
        """Jobs go on; whoever leads next finds them."""

    async def _by_name(self, resource: Any) -> dict[str, Any]:
        listing = await self.kube.list(resource, self.terms.namespace, label_selector=LABEL_BUILD)
        newest_last = sorted(listing.items, key=lambda item: str(item["metadata"]["creationTimestamp"]))
        return {item["metadata"]["labels"][LABEL_BUILD]: item for item in newest_last}

    async def _seen(self, name: str, job: Any, pod: Any) -> Seen:
        if job is None:
            return Seen(Stage.ABSENT)
        if "deletionTimestamp" in job["metadata"]:
            return Seen(Stage.PENDING, why="its Job is being deleted; it is made again")
        if pod is None:
            return _without_pod(job, self.terms.namespace)
        seen = seen_of(pod)
        if seen.stage is not Stage.RUNNING:
            return seen
        with contextlib.suppress(Broken):  # how far it is, is not worth a turn
            said = await self.kube.log(self.terms.namespace, pod["metadata"]["name"], last_lines=_LOOK_LINES)
            return Seen(Stage.RUNNING, step=step_in(said))
        return seen


def seen_of(pod: Mapping[str, Any]) -> Seen:
    """What a pod's status says about its build."""
    status = pod.get("status") or {}
    state = next((entry.get("state") or {} for entry in status.get("containerStatuses") or ()), {})
    if ended := state.get("terminated"):
        return Seen(Stage.ENDED, _report(ended.get("message") or "", ended.get("exitCode")), _why(status, ended))
    if status.get("phase") in ("Failed", "Succeeded"):
        return Seen(Stage.ENDED, None, _why(status, {}))
    if "running" in state:
        return Seen(Stage.RUNNING)
    waiting = state.get("waiting") or {}
    if (reason := waiting.get("reason") or "") not in _UNREMARKABLE:
        return Seen(Stage.PENDING, why=_joined(reason, waiting.get("message") or ""))
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return Seen(Stage.PENDING, why=_joined(condition.get("reason") or "", condition.get("message") or ""))
    return Seen(Stage.PENDING)


def _without_pod(job: Mapping[str, Any], namespace: str) -> Seen:
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Failed" and condition.get("status") == "True":
            return Seen(Stage.ENDED, why=_joined(condition.get("reason") or "", condition.get("message") or ""))
    if (job.get("status") or {}).get("active"):
        return Seen(Stage.PENDING)
    return Seen(Stage.PENDING, why=f"its pod is not made yet: kubectl -n {namespace} describe job {job['metadata']['name']}")


def _report(text: str, exit_code: int | None) -> BuildReport | None:
    """A builder that succeeded ends with 0: nobody else's word counts for that."""
    try:
        report = BuildReport.from_json(text) if text else None
    except ValueError:
        return None
    return None if report and report.result is BuildResult.BUILT and exit_code != 0 else report


def _why(status: Mapping[str, Any], ended: Mapping[str, Any]) -> str:
    """OOMKilled, Evicted and the like."""
    if status.get("reason"):
        return _joined(status["reason"], status.get("message") or "")
    reason, code = ended.get("reason") or "", ended.get("exitCode")
    return _joined(reason if reason != "Error" else "", f"its builder ended with exit code {code}" if code is not None else "")


def _joined(reason: str, message: str) -> str:
    return shorten(": ".join(part for part in (reason, message) if part), 1000)
