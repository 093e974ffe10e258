"""Carrying builds out: in turns, each once, to an end that is recorded. Only the leader does.

A run is claimed in PostgreSQL before its builder is asked; both know it by the same name. So whoever leads next finds it again,
and one that was claimed and never begun is begun.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NoReturn

import structlog
from unicorn_core.errors import Broken, Refused, StoreUnavailable, UnicornError, Waiting
from unicorn_core.images import BuildInputs, steps
from unicorn_core.planning.builds import (
    Begin,
    BuildState,
    Finish,
    Keep,
    OpenBuild,
    Postpone,
    Request,
    Seen,
    Stage,
    judge_run,
    next_builds,
)
from unicorn_core.reasons import EnvironmentReason
from unicorn_core.text import last_lines, plain
from unicorn_store import Store, builds

from unicorn_operator.cache import Caches, Object
from unicorn_operator.images.asking import Images
from unicorn_operator.images.builders import Builder, log_of_last_step, name_of
from unicorn_operator.images.inputs import inputs_of
from unicorn_operator.images.ordering import OrderMaker
from unicorn_operator.images.repository import Repository
from unicorn_operator.metrics import Metrics
from unicorn_operator.registry import Descriptor

IDLE_LOOK = timedelta(seconds=15)  # repairs a lost wake-up
SWEEP_EVERY = timedelta(minutes=5)
LAYERS_KEPT = 50_000
_MAY_WAIT = ("", "Pending", "Allocating", "Preparing")

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class BuildRunner:
    store: Store
    caches: Caches
    images: Images
    builder: Builder
    repository: Repository
    orders: OrderMaker
    agent_sha256: str
    limit: int
    deadline: timedelta
    metrics: Metrics
    now: Callable[[], datetime]
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    _swept: datetime | None = None
    _layers: set[str] = field(default_factory=set)  # that were seen to be made

    async def run(self) -> NoReturn:
        """Until cancelled. A database or an API server that is away is waited for."""
        while True:
            self.wake.clear()
            delay = self.builder.look_every
            try:
                if not await self.turn():
                    delay = IDLE_LOOK
            except Broken as error:
                log.warning("builds wait", reason=error.reason, error=plain(str(error)))
            try:
                async with asyncio.timeout(delay.total_seconds()):
                    await self.wake.wait()
            except TimeoutError:
                pass

    async def turn(self) -> bool:
        """Look at all that runs, and start what has its turn. Whether anything is left to be done. Raises Broken."""
        now = self.now()
        found = await builds.read_open_builds(self.store)
        running = [one for one in found if one.state is BuildState.RUNNING]
        seen = await self.builder.look([name_of(one) for one in running]) if running else {}
        if self._swept is None or now - self._swept >= SWEEP_EVERY:
            await self.builder.sweep([name_of(one) for one in running])
            self._swept = now
        over = set()
        for one in running:
            if not await self._alone(one, self._attend(one, seen.get(name_of(one), Seen(Stage.ABSENT)), now)):
                over.add(one.hash)
        for one in found:
            if one.state is BuildState.WAITING and not self._wanted(one):
                await builds.cancel_waiting_build(self.store, one.hash)
                self.images.over(one.hash)
                over.add(one.hash)
        left = [one for one in found if one.hash not in over]
        self.metrics.builds_open(len(found) - len(running), len(running))
        self._remember(layer for one in running for layer in one.done)
        await asyncio.gather(*(self._claim(one) for one in next_builds(left, self.limit, now, self._layers)))
        return bool(left)

    async def _alone(self, build: OpenBuild, work: Awaitable[bool]) -> bool:
        """Whether it goes on. What goes wrong with one build is nothing to the others."""
        try:
            return await work
        except StoreUnavailable:
            raise
        except Broken as error:
            log.warning("a build waits", hash=build.hash, run=build.run, reason=error.reason, error=plain(str(error)))
            return True
        except Exception as error:
            log.error("a build failed by a fault of ours", hash=build.hash, run=build.run, exc_info=error)
            message = f"a fault of the operator, whose log has more: {type(error).__name__}"
            await self._fail(build, BuildState.FAILED, EnvironmentReason.BUILDER_BROKEN, message, None)
            return False

    def _remember(self, layers: Iterable[str]) -> None:
        if len(self._layers) > LAYERS_KEPT:
            self._layers.clear()  # some will wait for each other once more
        self._layers.update(layers)

    def _wanted(self, build: OpenBuild) -> bool:
        """A request counts while its object may wait for it; a fresh one in any case: the object's status comes after it."""
        return bool(self._waiting(build))

    def _waiting(self, build: OpenBuild) -> tuple[Request, ...]:
        return tuple(one for one in build.requests if one.recent or self._waits(str(one.requester)))

    def _waits(self, uid: str) -> bool:
        if (environment := self.caches.environments.by_uid(uid)) is not None:
            return not _going(environment)
        experiment = self.caches.experiments.by_uid(uid)
        if experiment is None or _going(experiment) or experiment["spec"].get("desiredState") == "Cancelled":
            return False
        return (experiment.get("status") or {}).get("phase", "") in _MAY_WAIT

    # --- a run under way ---------------------------------------------------------------------------------------------

    async def _attend(self, build: OpenBuild, seen: Seen, now: datetime) -> bool:
        """Whether it goes on."""
        inputs = await self._inputs(build) if seen.stage is Stage.ABSENT else None
        if seen.stage is Stage.ABSENT and await self._needs_no_builder(build, inputs):
            await self.builder.remove(name_of(build))  # what may be left of it
            return False
        match judge_run(build, seen, self._wanted(build), now, self.deadline):
            case Keep(step, reason, message):
                if (step, reason, message) != (build.step, build.reason, build.message):
                    await builds.note_progress(self.store, build, step, reason, plain(message))
                    self.images.changed(build.hash)
                return True
            case Begin():
                if await self._begin(build, inputs):
                    await builds.restart_build(self.store, build)
                return True
            case Postpone() as later:
                await self._postpone(build, later, seen)
            case Finish(BuildState.SUCCEEDED, _, _) if seen.report is not None:
                return not await self._succeed(build, seen, seen.report.digest)
            case Finish(state, reason, message):
                await self._fail(build, state, reason, message, seen)
        await self.builder.remove(name_of(build))
        return False

    async def _succeed(self, build: OpenBuild, seen: Seen, digest: str) -> bool:
        """False while the registry does not take the image with the agent in it: it is asked again."""
        if await self._inputs(build) is None:
            await self._forget(build)
            await self.builder.remove(name_of(build))
            return True
        try:
            found = await self.repository.add_agent(digest, build.hash)
        except Waiting as waiting:
            await builds.note_progress(self.store, build, build.step, waiting.reason, plain(waiting.message))
            return False
        if found is None:
            message = f"the builder pushed {digest}, and the registry does not have it"
            await self._fail(build, BuildState.FAILED, EnvironmentReason.BUILDER_BROKEN, message, seen)
        else:
            await self._record(build, found, seen)
        await self.builder.remove(name_of(build))
        return True

    async def _record(self, build: OpenBuild, found: Descriptor, seen: Seen | None = None) -> None:
        image = str(self.repository.name.at(found.digest))
        await builds.finish_build(
            self.store,
            build,
            BuildState.SUCCEEDED,
            image=image,
            size=found.size,
            media_type=found.media_type,
            report=_report(seen),
            log=await self._log(build) if seen else None,
        )
        self._remember(build.layers)
        self.images.over(build.hash)
        self.metrics.built("Succeeded" if seen else "Found")
        log.info("an image is built", hash=build.hash, run=build.run, platform=build.platform, image=image)

    async def _fail(self, build: OpenBuild, state: BuildState, reason: str, message: str, seen: Seen | None) -> None:
        text = await self._log(build) if seen and seen.stage is not Stage.ABSENT else None
        report = _report(seen) or (_report_of_log(build.step or (seen.step if seen else "")) if text else None)
        if report is not None and text and (lines := log_of_last_step(text)):
            report["tail"] = last_lines(lines)  # a builder's own word holds but a few kilobytes
        await builds.finish_build(self.store, build, state, reason=reason, message=plain(message), report=report, log=text)
        self.images.over(build.hash)
        self.metrics.built(state)
        log.info("a build has ended", hash=build.hash, run=build.run, state=state, reason=reason, message=plain(message, 200))

    async def _postpone(self, build: OpenBuild, later: Postpone, seen: Seen | None) -> None:
        await builds.postpone_build(
            self.store,
            build,
            later.delay,
            broken=later.broken,
            reason=later.reason,
            message=plain(later.message),
            report=_report(seen),
            log=await self._log(build) if seen else None,
        )
        self.images.changed(build.hash)
        self.metrics.built("Postponed")

    async def _log(self, build: OpenBuild) -> str | None:
        try:
            return await self.builder.log(name_of(build))
        except UnicornError as error:
            log.warning("the log of a build cannot be read", hash=build.hash, run=build.run, error=plain(str(error)))
            return None

    # --- a run to come -----------------------------------------------------------------------------------------------

    async def _claim(self, waiting: OpenBuild) -> None:
        run = await builds.claim_build(self.store, waiting.hash)
        if run is None:
            return
        build = replace(waiting, run=run, state=BuildState.RUNNING)
        self.images.changed(build.hash)
        await self._alone(build, self._take(build))

    async def _take(self, build: OpenBuild) -> bool:
        """Whether it goes on. What breaks here is mended at the next turn, which finds it claimed and not begun."""
        inputs = await self._inputs(build)
        return not await self._needs_no_builder(build, inputs) and await self._begin(build, inputs)

    async def _needs_no_builder(self, build: OpenBuild, inputs: BuildInputs | None) -> bool:
        """The registry has it: by another installation, from before this database began, or by a run whose Job is gone.

        Or all of it but the agent; or it cannot be asked for now.
        """
        try:
            there = None if build.fresh else await self._find(build, inputs)
        except Waiting as waiting:
            await self._cannot_begin(build, waiting)
            return True
        if there is None:
            return False
        await self._record(build, there)
        return True

    async def _find(self, build: OpenBuild, inputs: BuildInputs | None) -> Descriptor | None:
        found = await self.repository.find(build.hash)
        if found is None and inputs is not None:
            found = await self.repository.add_agent(steps(inputs)[-1].tag, build.hash)
        return found

    async def _inputs(self, build: OpenBuild) -> BuildInputs | None:
        """None with another agent than ours: an operator of another version asked for it."""
        document = await builds.read_inputs(self.store, build.hash)
        inputs = inputs_of(document) if document else None
        return inputs if inputs and inputs.agent_sha256 == self.agent_sha256 else None

    async def _forget(self, build: OpenBuild) -> None:
        """Whoever waits for it asks anew, and for our agent."""
        await builds.delete_build(self.store, build.hash)
        self.images.over(build.hash)

    async def _begin(self, build: OpenBuild, inputs: BuildInputs | None) -> bool:
        """Whether its builder has it now. An API server that is away is tried again at the next turn."""
        if inputs is None:
            await self._forget(build)
            return False
        try:
            await self.builder.start(await self.orders.of(replace(build, requests=self._waiting(build)), inputs))
        except (Waiting, Refused) as error:
            await self._cannot_begin(build, error)
            return False
        except StoreUnavailable:
            raise
        except Broken as error:
            log.warning("a build cannot begin yet", hash=build.hash, reason=error.reason, error=plain(str(error)))
            await builds.note_progress(self.store, build, "", error.reason, plain(str(error)))
            self.images.changed(build.hash)
            return False
        log.info("a build begins", hash=build.hash, run=build.run, platform=build.platform, namespace=build.namespace)
        return True

    async def _cannot_begin(self, build: OpenBuild, error: Waiting | Refused) -> None:
        if isinstance(error, Waiting):
            await self._postpone(build, Postpone(error.retry_after, error.reason, error.message), None)
        else:
            await self._fail(build, BuildState.FAILED, error.reason, str(error), None)


def _report(seen: Seen | None) -> dict[str, object] | None:
    report = seen.report if seen else None
    if report is None:
        return None
    return {
        "result": str(report.result),
        "step": report.step,
        "title": report.title,
        "command": plain(report.command),
        "exitCode": report.exit_code,
        "message": plain(report.message),
        "cached": report.cached,
        "tail": last_lines(report.tail),
    }


def _report_of_log(step: str) -> dict[str, object]:
    """Of a run that was ended before it could report: where it was."""
    number, _, rest = step.partition(" ")
    at = number.partition("/")[0]
    return {
        "step": int(at) if at.isdecimal() else 0,
        "title": plain(rest.partition(":")[0]),
        "command": plain(rest.partition(": ")[2]),
    }


def _going(item: Object) -> bool:
    return "deletionTimestamp" in item["metadata"]
