"""One leads: the rules with a clock of the test's own, then real processes on a real API server."""

import asyncio
import signal
import time
from typing import Any

import pytest
from unicorn_core.errors import ApiUnavailable, Conflict, NotFound
from unicorn_kube.resource import CONNECTORS, LEASES
from unicorn_operator.election import NAME, Election, LeadershipLost, Terms

from .conftest import eventually

TERMS = Terms(duration=15, renew_deadline=10, retry=0.001)


class Api:
    """A Lease in memory, with versions as the API server has them; `down` refuses every call."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.down = False

    def _check(self) -> None:
        if self.down:
            raise ApiUnavailable("connection refused")

    async def get(self, resource, namespace, name):
        self._check()
        if self.lease is None:
            raise NotFound(name)
        return {"metadata": dict(self.lease["metadata"]), "spec": dict(self.lease["spec"])}

    async def create(self, resource, body):
        self._check()
        if self.lease is not None:
            raise Conflict("exists")
        self._store(body["spec"], "uid-1")
        return await self.get(None, None, None)

    async def patch_merge(self, resource, namespace, name, patch):
        self._check()
        if self.lease is None or patch["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise Conflict("changed")
        self._store(patch["spec"], self.lease["metadata"]["uid"])
        return await self.get(None, None, None)

    def _store(self, spec, uid):
        self.version += 1
        self.lease = {"metadata": {"uid": uid, "resourceVersion": str(self.version)}, "spec": dict(spec)}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> Api:
    return Api()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def candidate(server: Api, clock: Clock, name: str) -> Election:
    return Election(server, "here", name, TERMS, clock)


async def test_the_first_leads_and_the_second_waits(server, clock):
    first, second = candidate(server, clock, "first"), candidate(server, clock, "second")
    assert await first._try()
    assert not await second._try()
    assert second.waiting_for == "first"
    assert first.leads
    assert not second.leads


async def test_a_lease_that_is_not_renewed_passes_on_after_its_duration_as_the_other_saw_it(server, clock):
    first, second = candidate(server, clock, "first"), candidate(server, clock, "second")
    await first._try()
    clock.now = 1000.0
    assert not await second._try(), "it was seen just now: how old it is by its own clock does not count"
    clock.now = 1014.9
    assert not await second._try()
    clock.now = 1015.0
    assert await second._try()
    assert server.lease["spec"]["leaseTransitions"] == 1


async def test_each_renewal_starts_the_wait_anew(server, clock):
    first, second = candidate(server, clock, "first"), candidate(server, clock, "second")
    await first._try()
    for now in (10.0, 20.0, 30.0, 40.0):
        clock.now = now
        assert await first._renew()
        assert not await second._try()


async def test_a_released_lease_passes_on_at_once(server, clock):
    first, second = candidate(server, clock, "first"), candidate(server, clock, "second")
    await first._try()
    assert not await second._try()
    await first.release()
    assert not first.leads
    assert await second._try()


async def test_who_was_superseded_notices_at_the_next_renewal(server, clock):
    first, second = candidate(server, clock, "first"), candidate(server, clock, "second")
    await first._try()
    await second._try()
    clock.now = 16.0
    assert await second._try()
    assert not await first._renew()
    with pytest.raises(LeadershipLost, match="second"):
        await first.hold()


async def test_release_never_takes_another_ones_lease(server, clock):
    first, second = candidate(server, clock, "first"), candidate(server, clock, "second")
    await first._try()
    await second._try()
    clock.now = 16.0
    await second._try()
    await first.release()
    assert server.lease["spec"]["holderIdentity"] == "second"


async def test_leadership_ends_when_the_api_stays_away_for_the_renew_deadline(server, clock):
    first = candidate(server, clock, "first")
    await first._try()
    server.down = True
    holding = asyncio.ensure_future(first.hold())
    clock.now = 9.0
    await asyncio.sleep(0.05)
    assert not holding.done(), "there is time left"
    clock.now = 10.1
    with pytest.raises(LeadershipLost, match="connection refused"):
        async with asyncio.timeout(5):
            await holding


async def test_a_short_outage_changes_nothing(server, clock):
    first = candidate(server, clock, "first")
    await first._try()
    server.down = True
    assert await first._renew(), "it leads until the deadline"
    server.down = False
    clock.now = 8.0
    assert await first._renew()
    assert first.renewed_at == 8.0


async def test_a_write_whose_answer_was_lost_is_recognised(server, clock):
    first = candidate(server, clock, "first")
    await first._try()
    server._store({**server.lease["spec"], "renewTime": "now"}, "uid-1")  # ours, but we know the version before
    assert await first._renew()
    assert await first._renew()


# --- processes -----------------------------------------------------------------------------------------------------------

cluster = pytest.mark.cluster


@cluster
async def test_a_killed_leader_is_followed_within_the_time_of_the_lease(operators, lab):
    first = operators.start(UNICORN_IDENTITY="first")
    await first.says('"leading"')
    second = operators.start(UNICORN_IDENTITY="second")
    await second.says("standing by")

    async def both_ready():
        return first.probe("/readyz")[0] == second.probe("/readyz")[0] == 200

    await eventually(both_ready, "leader and standby are ready")
    assert not second.said('"leading"')
    await asyncio.sleep(3)  # the standby sees a renewal or two
    assert not second.said('"leading"')
    first.signal(signal.SIGKILL)
    killed = time.monotonic()
    await second.says('"leading"')
    assert time.monotonic() - killed < 15 + 2 + 3
    await lab.connector(config={"nodes": 1})
    await lab.reaches(CONNECTORS, "campus", "InventorySynced", "True")


@cluster
async def test_a_leader_that_is_asked_to_stop_is_followed_at_once(operators, lab):
    first = operators.start(UNICORN_IDENTITY="first")
    await first.says('"leading"')
    second = operators.start(UNICORN_IDENTITY="second")
    await second.says("standing by")
    first.signal(signal.SIGTERM)
    assert await first.ends() == 0
    ended = time.monotonic()
    await second.says('"leading"')
    assert time.monotonic() - ended < 5
    assert (await lab.get(LEASES, NAME))["spec"]["holderIdentity"] == "second"
    second.signal(signal.SIGINT)
    assert await second.ends() == 0


@cluster
async def test_a_frozen_leader_ends_itself_when_it_wakes_up(operators, lab):
    first = operators.start(UNICORN_IDENTITY="first")
    await first.says('"leading"')
    first.signal(signal.SIGSTOP)
    second = operators.start(UNICORN_IDENTITY="second")
    await second.says('"leading"')
    first.signal(signal.SIGCONT)
    assert await first.ends(10) == 4


@cluster
async def test_a_standby_can_be_stopped_too(operators):
    first = operators.start(UNICORN_IDENTITY="first")
    await first.says('"leading"')
    second = operators.start(UNICORN_IDENTITY="second")
    await second.says("standing by")
    second.signal(signal.SIGTERM)
    assert await second.ends() == 0
    assert not second.said('"leading"')
