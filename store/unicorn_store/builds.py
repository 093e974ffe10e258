"""Builds of images: asked for by experiments and Environments, claimed once, their ends and logs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from unicorn_core.planning.builds import Build, BuildState, OpenBuild, Request

from unicorn_store.pool import Connection, Store

LOGS_KEPT = 3  # of one build


@dataclass(frozen=True, slots=True)
class Asked:
    """One platform of a content. `token`: asks for a new build, once (NAMESPACE/TOKEN)."""

    hash: str
    platform: str
    inputs: Mapping[str, Any] | None  # None: only if it was asked for before
    token: str = ""
    pull_secret: str = ""  # a Secret of the requester's namespace


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks, and since when: a failure before this is tried again."""

    uid: UUID
    namespace: str
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class BuildLog:
    run: int
    content: str
    received: datetime


@dataclass(frozen=True, slots=True)
class Compiled:
    """A deployment of an attempt: its environment, and what is known of its images."""

    deployment: str
    body: Mapping[str, Any]
    builds: Mapping[str, str]  # platform -> hash
    images: Mapping[str, str] | None  # platform -> repository@digest; None: not known yet


async def request_builds(store: Store, requester: Requester, asked: Sequence[Asked], *, keep_others: bool = False) -> list[Build]:
    """All that this requester waits for, no hash twice; what it asked for before and does not now is withdrawn, or kept.

    Each is begun if it must be. One without inputs that nobody knows is missing from the answer. Raises StoreUnavailable.
    """
    async with store.connection() as connection:
        rows = store.queries.request_builds(
            connection,
            hashes=[one.hash for one in asked],
            platforms=[one.platform for one in asked],
            inputs=[one.inputs for one in asked],
            requester=requester.uid,
            namespace=requester.namespace,
            tokens=[one.token for one in asked],
            secrets=[one.pull_secret for one in asked],
            asked_at=requester.asked_at,
            keep=keep_others,
        )
        return [_build(row) async for row in rows]


async def read_builds(store: Store, hashes: Sequence[str]) -> list[Build]:
    """How they stand, without asking for them. Raises StoreUnavailable."""
    async with store.connection() as connection:
        rows = store.queries.read_builds(connection, hashes=list(hashes))
        return [_build(row) async for row in rows]


async def read_open_builds(store: Store) -> list[OpenBuild]:
    """What waits for its turn or runs, the oldest first. Raises StoreUnavailable."""
    async with store.connection() as connection:
        return [_open(row) async for row in store.queries.read_open_builds(connection)]


async def withdraw_requests(store: Store, requester: UUID) -> None:
    async with store.connection() as connection:
        await store.queries.withdraw_requests(connection, requester=requester)


async def forget_image(store: Store, hash: str, image: str) -> None:
    """The registry has it no more: whoever asks next has it built again."""
    async with store.connection() as connection:
        await store.queries.forget_image(connection, hash=hash, image=image)


async def claim_build(store: Store, hash: str) -> int | None:
    """The number of the run that begins, for the first who asks; None: it is not waiting any more."""
    async with store.connection() as connection:
        run: int | None = await store.queries.claim_build(connection, hash=hash)
        return run


async def read_inputs(store: Store, hash: str) -> Mapping[str, Any] | None:
    async with store.connection() as connection:
        inputs: Mapping[str, Any] | None = await store.queries.read_build_inputs(connection, hash=hash)
        return inputs


async def note_progress(store: Store, build: OpenBuild, step: str, reason: str, message: str) -> None:
    async with store.connection() as connection:
        await store.queries.note_progress(connection, hash=build.hash, run=build.run, step=step, reason=reason, message=message)


async def restart_build(store: Store, build: OpenBuild) -> None:
    """Its Job or process had to be made once more: that counts, and its time begins anew."""
    async with store.connection() as connection:
        await store.queries.restart_build(connection, hash=build.hash, run=build.run)


async def cancel_waiting_build(store: Store, hash: str) -> None:
    """It has not begun, and is not to. Nobody is noted as waiting for it any more."""
    async with store.transaction() as connection:
        if await store.queries.cancel_waiting_build(connection, hash=hash):
            await store.queries.forget_requests(connection, hash=hash, requesters=None)


async def delete_build(store: Store, hash: str) -> None:
    """As if nobody had ever asked for it."""
    async with store.connection() as connection:
        await store.queries.delete_build(connection, hash=hash)


async def finish_build(
    store: Store,
    build: OpenBuild,
    state: BuildState,
    *,
    reason: str = "",
    message: str = "",
    image: str = "",
    size: int = 0,
    media_type: str = "",
    report: Mapping[str, Any] | None = None,
    log: str | None = None,
) -> None:
    """The end of this run with its log, in one transaction. A run that is over already is left as it is."""
    async with store.transaction() as connection:
        ended = await store.queries.finish_build(
            connection,
            hash=build.hash,
            run=build.run,
            state=state,
            reason=reason,
            message=message,
            image=image,
            size=size,
            media_type=media_type,
            report=report,
        )
        if not ended:
            return
        await _keep_log(store, connection, build, log)
        await store.queries.forget_requests(connection, hash=build.hash, requesters=None)


async def postpone_build(
    store: Store,
    build: OpenBuild,
    delay: timedelta,
    *,
    broken: bool,
    reason: str,
    message: str,
    report: Mapping[str, Any] | None = None,
    log: str | None = None,
) -> None:
    """Back into the queue, not to be taken before `delay` is over. `broken`: it counts as a try of the builder's."""
    async with store.transaction() as connection:
        await store.queries.postpone_build(
            connection,
            hash=build.hash,
            run=build.run,
            delay=delay,
            broken=broken,
            reason=reason,
            message=message,
            report=report,
        )
        await _keep_log(store, connection, build, log)


async def read_log(store: Store, hash: str, run: int = -1) -> BuildLog | None:
    """The whole log of a run, by default of the last that has ended. `hash`: or how it begins. Raises StoreUnavailable."""
    async with store.connection() as connection:
        row = await store.queries.read_build_log(connection, hash=hash, run=run)
        return BuildLog(row["run"], row["content"], row["received_at"]) if row else None


async def read_compiled(store: Store, uid: UUID, attempt: int) -> list[Compiled]:
    """The deployments of an attempt, in their order. Raises StoreUnavailable."""
    async with store.connection() as connection:
        rows = store.queries.read_compiled(connection, uid=uid, attempt=attempt)
        return [
            Compiled(row["deployment"], row["body"], row["compiled"].get("builds") or {}, row["compiled"].get("images"))
            async for row in rows
        ]


async def note_compiled(
    store: Store,
    uid: UUID,
    attempt: int,
    deployment: str,
    *,
    builds: Mapping[str, str],
    images: Mapping[str, str] | None = None,
) -> None:
    """What this deployment's images are, or will be built as. Images that are noted stay."""
    compiled: dict[str, Any] = {"builds": dict(builds)} if images is None else {"builds": dict(builds), "images": dict(images)}
    async with store.connection() as connection:
        await store.queries.note_compiled(connection, uid=uid, attempt=attempt, deployment=deployment, compiled=compiled)


async def _keep_log(store: Store, connection: Connection, build: OpenBuild, log: str | None) -> None:
    if log is not None:
        await store.queries.store_build_log(connection, hash=build.hash, run=build.run, content=_storable(log))
        await store.queries.forget_old_logs(connection, hash=build.hash, keep=LOGS_KEPT)


def _build(row: Any) -> Build:
    return Build(
        hash=row["hash"],
        platform=row["platform"],
        state=BuildState(row["state"]),
        run=row["run"],
        image=row["image"],
        size=row["size"],
        media_type=row["media_type"],
        renewal=row["renewal"],
        honoured=row["honoured"],
        reason=row["reason"],
        message=row["message"],
        step=row["step"],
        report=row["report"],
        started=row["started_at"],
        finished=row["finished_at"],
    )


def _open(row: Any) -> OpenBuild:
    return OpenBuild(
        hash=row["hash"],
        platform=row["platform"],
        namespace=row["namespace"],
        state=BuildState(row["state"]),
        run=row["run"],
        tries=row["tries"],
        waits=row["waits"],
        fresh=row["fresh"],
        image=row["image"],
        reason=row["reason"],
        message=row["message"],
        step=row["step"],
        requested=row["requested_at"],
        not_before=row["not_before"],
        started=row["started_at"],
        layers=tuple(row["layers"]),
        requests=tuple(Request(*request) for request in row["requests"]),
    )


def _storable(text: str) -> str:
    """PostgreSQL's text has no NUL."""
    return text.replace("\0", "")
