"""One row for one content: whoever asks, however often, whatever became of it before."""

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from unicorn_core.planning.builds import BuildState, Hopeless, NotYet, OpenBuild, Ready, Request, judge_builds
from unicorn_store import Store, builds
from unicorn_store.builds import Asked, Requester

BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
LATER = datetime(2100, 1, 1, tzinfo=UTC)
HASH = "a" * 64
IMAGE = f"registry:5000/built@sha256:{'1' * 64}"
ASKED = [Asked(HASH, "linux/amd64", {"base": "b"})]


def someone(namespace: str = "lab", asked_at: datetime = BEFORE) -> Requester:
    return Requester(uuid.uuid4(), namespace, asked_at)


async def ask(store: Store, requester: Requester | None = None, asked=ASKED, token: str = ""):
    requester = requester or someone()
    full = f"{requester.namespace}/{token}" if token else ""
    return await builds.request_builds(store, requester, [replace(one, token=full) for one in asked])


async def only(store: Store) -> OpenBuild:
    (found,) = await builds.read_open_builds(store)
    return found


async def claim(store: Store) -> int | None:
    async with store.connection() as connection:
        run: int | None = await store.queries.claim_build(connection, hash=HASH)
        return run


async def run(store: Store, state: BuildState = BuildState.SUCCEEDED, image: str = IMAGE, log: str | None = None, **more) -> None:
    """Claim it and end it."""
    assert await claim(store)
    await builds.finish_build(
        store, await only(store), state, image=image if state is BuildState.SUCCEEDED else "", log=log, **more
    )


async def test_many_who_ask_make_one_build(store):
    askers = [someone(f"team-{index % 3}") for index in range(20)]
    answers = await asyncio.gather(*(ask(store, asker) for asker in askers))
    assert {one.state for answer in answers for one in answer} == {BuildState.WAITING}
    build = await only(store)
    assert {request.requester for request in build.requests} == {asker.uid for asker in askers}
    assert [await claim(store), await claim(store)] == [1, None]


async def test_who_asks_after_its_end_has_it_at_once(store):
    await ask(store)
    await run(store, size=7, media_type="m")
    (found,) = await ask(store)
    assert judge_builds([found]) == Ready({"linux/amd64": IMAGE})
    assert (found.size, found.media_type) == (7, "m")
    assert await builds.read_open_builds(store) == []


@pytest.mark.parametrize(
    ("asked_at", "state", "why"),
    [
        (BEFORE, BuildState.FAILED, "whoever asked before the failure is told of it"),
        (LATER, BuildState.WAITING, "whoever asks after it has it tried again"),
    ],
)
async def test_a_failure(store, asked_at, state, why):
    await ask(store)
    await run(store, BuildState.FAILED, reason="BuildFailed", message="step 2", report={"result": "CommandFailed"})
    (found,) = await ask(store, someone(asked_at=asked_at))
    assert found.state is state, why
    if state is BuildState.FAILED:
        assert judge_builds([found]) == Hopeless("BuildFailed", "step 2")
        assert found.report == {"result": "CommandFailed"}


async def test_who_has_asked_before_does_not_try_a_failure_again(store):
    """However the clocks of operator and database differ."""
    await ask(store)
    await run(store, BuildState.FAILED, reason="BuildFailed", message="no")
    (found,) = await ask(store, someone(asked_at=LATER), [Asked(HASH, "linux/amd64", None)])
    assert found.state is BuildState.FAILED


async def test_a_cancelled_one_is_begun_anew(store):
    await ask(store)
    assert await claim(store) == 1
    await builds.finish_build(store, await only(store), BuildState.CANCELLED)
    (found,) = await builds.read_builds(store, [HASH])
    assert found.state is BuildState.CANCELLED
    (found,) = await ask(store)
    assert found.state is BuildState.WAITING
    assert await claim(store) == 2


async def test_one_that_is_cancelled_before_its_turn_has_nobody_who_waits(store):
    await ask(store)
    await builds.cancel_waiting_build(store, HASH)
    late = someone()
    await ask(store, late)
    assert [one.requester for one in (await only(store)).requests] == [late.uid]


async def test_of_very_many_who_waited_the_newest_are_seen(store):
    """Those who have gone meanwhile do not hide one who is there."""
    await ask(store)
    async with store.connection() as connection:
        await connection.execute(
            "INSERT INTO unicorn.build_request (hash, requester, namespace, requested_at)"
            " SELECT $1, gen_random_uuid(), 'lab', now() - interval '1 hour' FROM generate_series(1, 1500)",
            HASH,
        )
    late = someone()
    await ask(store, late)
    requests = (await only(store)).requests
    assert (requests[0].requester, len(requests)) == (late.uid, 1000)


async def test_a_token_builds_once_and_without_cache(store):
    await ask(store)
    await run(store)
    (found,) = await ask(store, token="monday")
    assert isinstance(judge_builds([found]), NotYet)
    assert (await only(store)).fresh
    (other,) = await ask(store)
    assert judge_builds([other]) == Ready({"linux/amd64": IMAGE}), "whoever has no token is served meanwhile"
    newer = IMAGE.replace("1", "2")
    await run(store, image=newer)
    for token in ("monday", "", "monday"):
        (found,) = await ask(store, token=token)
        assert judge_builds([found]) == Ready({"linux/amd64": newer}), token
    (found,) = await ask(store, someone("another"), token="monday")
    assert isinstance(judge_builds([found]), NotYet), "another namespace's token is another one"


async def test_a_token_that_meets_a_run_is_served_by_the_next(store):
    await ask(store)
    assert await claim(store) == 1
    late = someone()
    (found,) = await ask(store, late, token="now")
    assert found.state is BuildState.RUNNING
    await builds.finish_build(store, await only(store), BuildState.SUCCEEDED, image=IMAGE)
    (found,) = await ask(store, late, token="now")
    assert isinstance(judge_builds([found]), NotYet)
    await run(store)
    (found,) = await ask(store, late, token="now")
    assert judge_builds([found]) == Ready({"linux/amd64": IMAGE})


async def test_a_failed_renewal_fails_those_who_wanted_it_only(store):
    await ask(store)
    await run(store)
    wanting = someone()
    await ask(store, wanting, token="new")
    await run(store, BuildState.FAILED, reason="BuildFailed", message="no")
    assert judge_builds(await ask(store, wanting, token="new")) == Hopeless("BuildFailed", "no")
    assert judge_builds(await ask(store, someone(asked_at=LATER))) == Ready({"linux/amd64": IMAGE})
    (found,) = await ask(store, someone(asked_at=LATER), token="new")
    assert found.state is BuildState.WAITING, "it is tried again for whoever comes later"


async def test_two_tokens_at_once_make_one_build(store):
    await ask(store)
    await run(store)
    for token in ("one", "two"):
        await ask(store, token=token)
    await run(store)
    assert all([isinstance(judge_builds(await ask(store, token=token)), Ready) for token in ("one", "two")])


async def test_who_turns_to_other_contents_waits_no_more(store):
    asker = someone()
    await builds.request_builds(store, asker, [replace(ASKED[0], pull_secret="pull")])
    (request,) = (await only(store)).requests
    assert request == Request(asker.uid, "lab", "b", "pull", recent=True)
    other = [Asked("b" * 64, "linux/amd64", {})]
    await builds.request_builds(store, asker, other, keep_others=True)
    assert [len(one.requests) for one in await builds.read_open_builds(store)] == [1, 1], (
        "it could not tell whether it needs both"
    )
    await builds.request_builds(store, asker, other)
    assert [one.requests for one in await builds.read_open_builds(store) if one.hash == HASH] == [()]
    await builds.withdraw_requests(store, asker.uid)
    assert [one.requests for one in await builds.read_open_builds(store)] == [(), ()]


async def test_each_has_named_the_base_in_their_own_way(store):
    first, second = someone("one"), someone("two")
    for asker, base, secret in ((first, "a.example/x@d", "mine"), (second, "b.example/y@d", ""), (first, "c.example/z@d", "new")):
        await builds.request_builds(store, asker, [Asked(HASH, "linux/amd64", {"base": base}, pull_secret=secret)])
    said = [(one.requester, one.base, one.pull_secret) for one in (await only(store)).requests]
    assert said == [(first.uid, "c.example/z@d", "new"), (second.uid, "b.example/y@d", "")], (
        "the newest word of each, the newest first"
    )
    await builds.request_builds(store, first, [Asked(HASH, "linux/amd64", None, pull_secret="new")])
    assert (await only(store)).requests[0].base == "c.example/z@d", "who goes on waiting has not named another"


async def test_what_is_begun_anew_is_begun_from_the_new_place(store):
    await ask(store, asked=[Asked(HASH, "linux/amd64", {"base": "gone.example/x@d"})])
    await ask(store, asked=[Asked(HASH, "linux/amd64", {"base": "other.example/x@d"})])
    assert await builds.read_inputs(store, HASH) == {"base": "gone.example/x@d"}, "it is under way"
    await run(store, BuildState.FAILED, reason="ImageNotFound", message="no")
    await ask(store, someone(asked_at=LATER), asked=[Asked(HASH, "linux/amd64", {"base": "new.example/x@d"})])
    assert await builds.read_inputs(store, HASH) == {"base": "new.example/x@d"}


async def test_without_inputs_only_what_is_known_is_asked_for(store):
    assert await ask(store, asked=[Asked(HASH, "linux/amd64", None)]) == []
    await ask(store)
    (found,) = await ask(store, asked=[Asked(HASH, "linux/amd64", None)])
    assert found.state is BuildState.WAITING
    async with store.connection() as connection:
        assert await store.queries.read_build_inputs(connection, hash=HASH) == {"base": "b"}


async def test_a_run_that_comes_to_nothing_waits_and_keeps_its_log(store):
    await ask(store)
    assert await claim(store) == 1
    await builds.postpone_build(
        store,
        await only(store),
        timedelta(hours=1),
        broken=False,
        reason="RegistryUnreachable",
        message="away",
        log="first\0 try",
    )
    build = await only(store)
    assert (build.state, build.tries, build.waits, build.reason) == (BuildState.WAITING, 0, 1, "RegistryUnreachable")
    assert build.not_before > build.requested + timedelta(minutes=59)
    log = await builds.read_log(store, HASH)
    assert log is not None
    assert (log.run, log.content) == (1, "first try")


async def test_of_many_tries_the_last_logs_are_kept(store):
    await ask(store)
    for number in range(1, 6):
        assert await claim(store) == number
        await builds.postpone_build(
            store, await only(store), timedelta(), broken=False, reason="RegistryUnreachable", message="", log=f"try {number}"
        )
    kept = [await builds.read_log(store, HASH, run) for run in range(1, 6)]
    assert [log.content if log else None for log in kept] == [None, None, "try 3", "try 4", "try 5"]


async def test_what_an_earlier_run_says_is_not_heard(store):
    await ask(store)
    await claim(store)
    first = await only(store)
    await builds.postpone_build(store, first, timedelta(0), broken=True, reason="BuilderBroken", message="")
    assert ((await only(store)).tries, (await only(store)).waits) == (1, 0)
    assert await claim(store) == 2
    await builds.finish_build(store, first, BuildState.SUCCEEDED, image=IMAGE, log="late")
    assert (await only(store)).state is BuildState.RUNNING
    assert await builds.read_log(store, HASH) is None


async def test_an_image_that_is_gone_is_built_again(store):
    await ask(store)
    await run(store)
    async with store.connection() as connection:
        await store.queries.forget_image(connection, hash=HASH, image=IMAGE)
    (found,) = await ask(store)
    assert found.state is BuildState.WAITING
