"""A small world for the planner: records, nodes with agents, a gateway, a user, an operator that can be killed at any point.

Time moves only by `wait`. The operator runs a pass when something woke it or its time to look again has come, and never else:
a plan that rests without naming what wakes it is found as an experiment that does not end.
"""

from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import assert_never

from planning.builders import MINUTE, NOON, SECOND, UID
from unicorn_core.naming import ExecutorId, executor_id
from unicorn_core.planning.conditions import count_states
from unicorn_core.planning.experiment import advance, plan_experiment
from unicorn_core.planning.views import (
    FINAL_PHASES,
    FINAL_STATES,
    AddFinalizer,
    Allocate,
    AllocationResult,
    CancelOperations,
    ConnectorState,
    Deadlines,
    DeleteResource,
    Effect,
    ExecutorView,
    FreeLeases,
    Hindrance,
    LeaveQueue,
    Observed,
    Operate,
    Operation,
    Phase,
    Plan,
    Progress,
    RecordOrphans,
    Release,
    RemoveFinalizer,
    Settle,
    Sight,
    State,
    TakeSnapshot,
    Verb,
    Wish,
)
from unicorn_core.reasons import CONDITIONS, REASONS

ROUNDS = 24  # of effects and phases in one pass; a plan that needs more goes back and forth
DEADLINES = Deadlines(10 * MINUTE, 5 * MINUTE, 10 * MINUTE, 2 * MINUTE, 10 * MINUTE, 2 * MINUTE)
OF_ATTEMPTS = {*map(str, REASONS["Experiment"]), *map(str, CONDITIONS["Experiment"]), ""}
OF_EXECUTORS = {*OF_ATTEMPTS, *map(str, REASONS["executor"])}
OF_ORPHANS = set(map(str, REASONS["orphan"]))
PATIENCE = MINUTE * 45  # all deadlines, one after the other, and a little for the steps between them


class Crash(Exception):
    """The operator was killed."""


@dataclass
class Row:
    """An executor's, as in the database."""

    view: ExecutorView
    attempt: int
    release_on_check_in: bool


@dataclass
class Database:
    snapshots: set[int] = field(default_factory=set)
    rows: dict[ExecutorId, Row] = field(default_factory=dict)
    queued: bool = False
    over: int = 0  # the last attempt that is known to be final

    def change(self, executor: ExecutorId, **fields) -> None:
        row = self.rows[executor]
        row.view = replace(row.view, **fields)


@dataclass
class Agent:
    alive: bool = True
    there: bool = False  # has checked in
    code: int | None = None
    starts: int = 1


@dataclass
class Machine:
    """A node and the connector that reaches it."""

    reachable: bool = True  # by its connector
    heard: bool = True  # its agents reach the gateway
    connector: ConnectorState = ConnectorState.PRESENT
    deleting_since: datetime | None = None
    agents: dict[ExecutorId, Agent] = field(default_factory=dict)


@dataclass
class Resource:
    """The Experiment."""

    wish: Wish
    phase: Phase = Phase.PENDING
    phase_start: datetime | None = None
    attempt: int = 1
    reason: str = ""
    message: str = ""
    conditions: tuple = ()
    start_time: datetime | None = None
    completion_time: datetime | None = None
    executors: dict[str, int] = field(default_factory=dict)
    finalizer: bool = False
    deleting: bool = False
    exists: bool = True


class World:
    def __init__(self, size: int, wish: Wish, *, report_results: bool = True, cleanup: bool = True) -> None:
        self.now = NOON
        self.resource = Resource(replace(wish, deadlines=DEADLINES))
        self.database = Database()
        self.backup = deepcopy(self.database)
        self.machines = [Machine() for _ in range(size)]
        self.report_results, self.cleanup = report_results, cleanup
        self.missing: tuple[str, ...] = ()
        self.environments: tuple[tuple[str, Hindrance], ...] = ()
        self.taken: set[int] = set()  # machines that others hold
        self.gateway_up = True
        self.reception_restored = NOON
        self.sure = True  # nodes were observed since the operator started
        self.paused = False
        self.woken = True
        self.look_at: datetime | None = None
        self.fuse: int | None = None  # effects and writes until the operator is killed
        self.restored = False
        self.ever_restored = False
        self.started_by_effect: set[tuple[int, ExecutorId]] = set()
        self.restores = 0
        self.story: list[str] = []

    # --- the operator ---------------------------------------------------------------------------------------------------------

    def operate(self) -> None:
        """A pass, if one is due. Whatever it was doing when it is killed stays half done; the next operator takes it up."""
        due = self.look_at is not None and self.now >= self.look_at
        if not self.resource.exists or not (self.woken or due):
            return
        self.woken = False
        try:
            self._pass()
        except Crash:
            self.story.append("killed")
            self.fuse, self.sure, self.woken = None, False, True

    def _pass(self) -> None:
        observed, allocation = self.observe(), None
        for _ in range(ROUNDS):
            plan = plan_experiment(replace(observed, allocation=allocation), self.now)
            if plan.effects:
                for effect in plan.effects:
                    self._burn()
                    allocation = self.apply(effect) or allocation
                observed = self._refresh(observed)
                continue
            if plan.phase is not observed.phase or plan.attempt != observed.attempt:
                again = plan.attempt != observed.attempt
                self.story.append(f"{self.now:%H:%M:%S} {observed.phase} -> {plan.phase} {plan.reason}")
                observed = self._refresh(advance(observed, plan))
                allocation = None if again else allocation
                continue
            return self._rest(observed, plan)
        raise AssertionError(f"no rest after {ROUNDS} rounds in {observed.phase}; last asked for {plan.effects}")

    def _rest(self, observed: Observed, plan: Plan) -> None:
        final = plan.phase in FINAL_PHASES
        assert final or plan.look_again_at or plan.waits_for, f"{plan.phase} rests and nothing wakes it"
        assert plan.look_again_at is None or plan.look_again_at > self.now, "a rest that is over at once"
        reasons = {plan.reason, *(entry["reason"] for entry in plan.conditions)}
        assert reasons <= OF_EXECUTORS, f"{reasons - OF_EXECUTORS} are not listed reasons"
        self._burn()
        if final:
            self.database.over = max(self.database.over, plan.attempt)
        self._burn()
        self._write(observed, plan)
        self.look_at = plan.look_again_at
        for effect in plan.last:
            self._burn()
            self._finish(effect)

    def _write(self, observed: Observed, plan: Plan) -> None:
        old = self.resource
        counts = count_states([e.state for e in observed.executors])
        assert sum(counts.values()) == 2 * counts["total"], f"the counts do not sum to total: {counts}"
        if old.phase in FINAL_PHASES and plan.attempt == old.attempt:
            assert (plan.phase, plan.reason, plan.message) == (old.phase, old.reason, old.message), "a final status changed"
            assert plan.completion_time == old.completion_time, "the completion time of a final experiment changed"
            assert self.restored or counts == old.executors, f"counts of a final experiment: {old.executors} -> {counts}"
        self.restored = False
        self.resource = replace(
            old,
            phase=plan.phase,
            phase_start=plan.phase_start,
            attempt=plan.attempt,
            reason=plan.reason,
            message=plan.message,
            conditions=plan.conditions,
            start_time=plan.start_time,
            completion_time=plan.completion_time,
            executors=counts,
        )

    def _finish(self, effect: RemoveFinalizer | DeleteResource) -> None:
        match effect:
            case RemoveFinalizer():
                self.resource.finalizer = False
                self.resource.exists = not self.resource.deleting
            case DeleteResource():
                self.delete()

    def _burn(self) -> None:
        if self.fuse is None:
            return
        self.fuse -= 1
        if self.fuse < 0:
            raise Crash

    def observe(self) -> Observed:
        resource = self.resource
        seen = Observed(
            wish=resource.wish,
            phase=resource.phase,
            phase_start=resource.phase_start,
            attempt=resource.attempt,
            reason=resource.reason,
            message=resource.message,
            conditions=resource.conditions,
            start_time=resource.start_time,
            completion_time=resource.completion_time,
        )
        return self._refresh(seen)

    def _refresh(self, seen: Observed) -> Observed:
        database = self.database
        snapshot = seen.attempt in database.snapshots
        rows = [row for row in database.rows.values() if row.attempt == seen.attempt] if snapshot else []
        return replace(
            seen,
            snapshot=snapshot,
            queued=database.queued,
            executors=tuple(self._with_connector(row.view) for row in rows),
            missing=self.missing,
            environments=self.environments if seen.phase in (Phase.ALLOCATING, Phase.PREPARING) else (),
            reception_restored=self.reception_restored if self.gateway_up else self.now,
            allocation_pause="the database was restored" if self.paused else "",
            may_enforce=self.sure,
            has_finalizer=self.resource.finalizer,
            deleting=self.resource.deleting,
        )

    def _with_connector(self, view: ExecutorView) -> ExecutorView:
        machine = self.machine_of(view)
        if machine is None:
            return view
        return replace(view, connector=machine.connector, connector_deleting_since=machine.deleting_since)

    def machine_of(self, view: ExecutorView) -> Machine | None:
        return self.machines[int(view.node)] if view.node else None

    # --- what a plan asks for -------------------------------------------------------------------------------------------------

    def apply(self, effect: Effect) -> AllocationResult | None:
        """As the operator's statements do it: idempotent, each in a transaction of its own."""
        database = self.database
        match effect:
            case AddFinalizer():
                self.resource.finalizer = True
            case TakeSnapshot():
                database.snapshots.add(effect.attempt)
            case Allocate():
                return self._allocate(effect.attempt)
            case LeaveQueue():
                database.queued = False
            case Operate():
                for executor in effect.executors:
                    self._record(effect.verb, executor)
            case CancelOperations():
                for executor in effect.executors:
                    for verb in effect.verbs:
                        if database.rows[executor].view.progress(verb) is Progress.PENDING:
                            self._outcome(executor, verb, Progress.CANCELLED)
            case Settle():
                assert effect.reason in OF_EXECUTORS, f"{effect.reason} is not a listed reason"
                for executor in effect.executors:
                    if database.rows[executor].view.state not in FINAL_STATES:
                        database.change(executor, state=effect.state, reason=effect.reason, message=effect.message)
            case Release():
                for executor in effect.executors:
                    if database.rows[executor].view.state is State.CHECKED_IN:
                        database.change(executor, state=State.RUNNING, released=self.now)
            case FreeLeases():
                for executor in effect.executors:
                    self._free(executor)
                    self._cancel_all(executor)
            case RecordOrphans():
                assert effect.reason in OF_ORPHANS, f"{effect.reason} is not a listed reason"
                for executor in effect.executors:
                    database.change(executor, leased=False, orphaned=True)
                    self._cancel_all(executor)
            case _:
                assert_never(effect)
        return None

    def _cancel_all(self, executor: ExecutorId) -> None:
        for verb in Verb:
            if self.database.rows[executor].view.progress(verb) is Progress.PENDING:
                self._outcome(executor, verb, Progress.CANCELLED)

    def _allocate(self, attempt: int) -> AllocationResult:
        if not self._of(attempt):
            free = [index for index in range(len(self.machines)) if index not in self.taken]
            short = len(free) < len(self.machines)
            if short and (self.resource.wish.all_or_nothing or not free):
                self.database.queued = self.resource.wish.queue_when_busy
                return AllocationResult(False, "NodesBusy", "others hold nodes", 1, "node 0")
            for index in range(len(self.machines)):
                self._place(attempt, index, index in free)
            self.database.queued = False
        return AllocationResult(True)

    def _place(self, attempt: int, index: int, free: bool) -> None:
        view = ExecutorView(
            executor_id(UID, attempt, "clients", index),
            "clients",
            index,
            MINUTE,
            State.PENDING if free else State.FAILED,
            "" if free else "NodesBusy",
            node=str(index) if free else "",
            leased=free,
            cleanup=self.cleanup,
            report_results=self.report_results,
        )
        self.database.rows[view.id] = Row(view, attempt, not self.resource.wish.together or len(self.machines) == 1)

    def _of(self, attempt: int) -> list[ExecutorView]:
        return [row.view for row in self.database.rows.values() if row.attempt == attempt]

    def _record(self, verb: Verb, executor: ExecutorId) -> None:
        view = self.database.rows[executor].view
        begins = {Verb.PREPARE: (State.PENDING, State.PREPARING), Verb.START: (State.PREPARED, State.STARTING)}
        if verb in begins:
            before, after = begins[verb]
            if view.state is not before:
                return
            self.database.change(executor, state=after)
        if verb is Verb.START:
            assert view.connector is ConnectorState.PRESENT, "started on a node that is being deleted"
            assert Verb.STOP not in view.operations, "started what is being stopped"
            assert (self.restores, executor) not in self.started_by_effect, "a second start was ordered"
            self.started_by_effect.add((self.restores, executor))
        if verb not in view.operations:
            self._outcome(executor, verb, Progress.PENDING)

    def _outcome(self, executor: ExecutorId, verb: Verb, progress: Progress) -> None:
        known = self.database.rows[executor].view.operations
        created = known[verb].created if verb in known else self.now
        self.database.change(executor, operations={**known, verb: Operation(progress, created)})

    def _free(self, executor: ExecutorId) -> None:
        view = self.database.rows[executor].view
        machine = self.machine_of(view)
        agent = machine.agents.get(executor) if machine else None
        assert agent is None or not agent.alive, "a lease was freed while its executor runs"
        self.database.change(executor, leased=False)

    # --- connectors and nodes -------------------------------------------------------------------------------------------------

    def pending(self) -> list[tuple[ExecutorId, Verb]]:
        """Operations that can be run; a stop waits for none, everything else for the stop that is asked for."""
        return [
            (row.view.id, verb)
            for row in self.database.rows.values()
            for verb, operation in row.view.operations.items()
            if operation.progress is Progress.PENDING
        ]

    def work(self, executor: ExecutorId, verb: Verb, outcome: str = "done") -> None:
        """A connector runs an operation: `done`, `failed`, or `unknown` (it took effect and nobody learnt of it)."""
        view = self.database.rows[executor].view
        machine = self.machine_of(view)
        if machine is None or not machine.reachable or machine.connector is ConnectorState.GONE:
            return
        if outcome == "failed":
            self._outcome(executor, verb, Progress.FAILED)
            if verb in (Verb.PREPARE, Verb.START) and view.state not in FINAL_STATES and view.state is not State.RUNNING:
                self.database.change(executor, state=State.FAILED, reason="CommandFailed", message="as it was told")
            self.woken = True
            return
        agent = machine.agents.get(executor)
        if verb is Verb.START and agent is None:
            machine.agents[executor] = Agent()
        if verb is Verb.STOP and agent is not None and agent.alive:
            agent.alive, agent.code = False, None
        if verb is Verb.CLEANUP and agent is not None:
            assert not agent.alive, "cleaned up under a running executor"
        if outcome == "unknown":
            return
        self._outcome(executor, verb, Progress.DONE)
        if verb is Verb.PREPARE and view.state is State.PREPARING:
            self.database.change(executor, state=State.PREPARED)
        if verb is Verb.START:
            self.database.change(executor, sight=Sight.NEVER, gone_since=None, gone_count=0)
        self.woken = True

    def look(self) -> None:
        """Connectors say what they see. After the first time deadlines may be enforced, and nodes given out."""
        for row in self.database.rows.values():
            view, machine = row.view, self.machine_of(row.view)
            watched = view.leased and view.state in (State.STARTING, State.CHECKED_IN, State.RUNNING, State.LOST)
            if not watched or machine is None or machine.connector is ConnectorState.GONE:
                continue
            agent = machine.agents.get(view.id)
            if not machine.reachable:
                sight = Sight.UNREACHABLE
            elif agent is None:
                sight = Sight.ABSENT
            else:
                sight = Sight.RUNNING if agent.alive else Sight.EXITED
            gone = sight in (Sight.ABSENT, Sight.EXITED)
            if sight is not view.sight or (gone and view.gone_count < 2):
                self.woken = True
            self.database.change(
                view.id,
                sight=sight,
                exit_code=agent.code if agent and sight is Sight.EXITED else None,
                gone_since=(view.gone_since or self.now) if gone else None,
                gone_count=view.gone_count + 1 if gone else 0,
            )
        self.sure = True
        self.woken = self.woken or self.paused
        self.paused = False

    def hopeless(self, executor: ExecutorId) -> None:
        if self.database.rows[executor].view.state is State.STARTING:
            self.database.change(executor, sight=Sight.HOPELESS, sight_reason="ImagePullFailed", gone_count=0, gone_since=None)
            self.woken = True

    # --- agents and the gateway -----------------------------------------------------------------------------------------------

    def agents(self) -> list[tuple[ExecutorId, Machine, Agent]]:
        return [(key, machine, agent) for machine in self.machines for key, agent in machine.agents.items() if agent.alive]

    def _reaches(self, machine: Machine) -> bool:
        return self.gateway_up and machine.heard

    def report_in(self, executor: ExecutorId, machine: Machine, agent: Agent) -> None:
        """An agent asks for its graph, or says that it lives."""
        row = self.database.rows.get(executor)
        if not self._reaches(machine) or row is None:
            return
        view = row.view
        if view.state in FINAL_STATES or self.database.over >= row.attempt:
            agent.alive, agent.code = False, 0
        elif not agent.there and view.state is State.STARTING:
            if view.cancel_requested:
                agent.alive, agent.code = False, 0
                return
            agent.there = self.woken = True
            is_released = row.release_on_check_in and Verb.STOP not in view.operations
            state = State.RUNNING if is_released else State.CHECKED_IN
            released = self.now if is_released else None
            self.database.change(executor, state=state, checked_in=self.now, heard=self.now, released=released)
        elif agent.there and view.checked_in:
            if view.state is State.LOST:
                self.woken = True
                self.database.change(executor, state=State.RUNNING, reason="", message="")
            self.database.change(executor, heard=self.now)

    def end(self, executor: ExecutorId, machine: Machine, agent: Agent, how: str) -> None:
        """`success` and `failure` are reported where the gateway can be reached; `crash` is an exit without a word."""
        row = self.database.rows.get(executor)
        if row is None or row.view.released is None:
            return
        if how == "crash":
            agent.alive, agent.code = False, 137
        elif not self.report_results and how == "success":
            agent.alive, agent.code = False, 0
        elif self._reaches(machine):
            agent.alive, agent.code = False, 0
            if row.view.state not in FINAL_STATES and self.database.over < row.attempt:
                state = State.SUCCEEDED if how == "success" else State.FAILED
                self.database.change(executor, state=state, heard=self.now, reason="" if how == "success" else "TaskFailed")
                self.woken = True

    def switch_gateway(self, up: bool) -> None:
        if up and not self.gateway_up:
            self.reception_restored = self.now
        self.gateway_up = up

    # --- people ---------------------------------------------------------------------------------------------------------------

    def edit(self, **terms) -> None:
        self.resource.wish = replace(self.resource.wish, **terms)
        self.woken = True

    def delete(self) -> None:
        self.resource.deleting = self.woken = True
        self.resource.exists = self.resource.finalizer

    def cancel_one(self, executor: ExecutorId) -> None:
        if self.database.rows[executor].view.state not in FINAL_STATES:
            self.database.change(executor, cancel_requested=self.now)
            self.woken = True

    def delete_connector(self, machine: Machine, *, by_force: bool) -> None:
        machine.connector = ConnectorState.GONE if by_force else ConnectorState.DELETING
        machine.deleting_since = machine.deleting_since or self.now
        self.woken = True

    def give_nodes(self, taken: set[int]) -> None:
        self.taken, self.woken = taken, True

    def restore(self) -> None:
        """The database as it was at the last backup; the custom resource knows better."""
        self.database = deepcopy(self.backup)
        self.paused = self.woken = self.restored = self.ever_restored = True
        self.restores += 1
        self.sure = False

    def save(self) -> None:
        self.backup = deepcopy(self.database)

    def wait(self, span: timedelta) -> None:
        self.now += span

    # --- the end ----------------------------------------------------------------------------------------------------------------

    @property
    def settled(self) -> bool:
        return not self.resource.exists or (
            self.resource.phase in FINAL_PHASES
            and self.resource.wish.attempt == self.resource.attempt
            and not self.resource.deleting
            and not any(view.leased for view in self._of(self.resource.attempt))
        )

    def end_faults(self, *, lazy: bool) -> None:
        """From now on everything does its part, except nodes that stay away and, if `lazy`, agents that never finish."""
        self.fuse = None
        self.switch_gateway(True)
        begun = self.now
        while not self.settled:
            assert self.now < begun + PATIENCE, f"still {self.resource.phase} after {PATIENCE}; {self.observe()}"
            for executor, verb in reversed(self.pending()):  # what should have been cancelled comes after its stop
                self.work(executor, verb)
            for executor, machine, agent in self.agents():
                self.report_in(executor, machine, agent)
                if not lazy and agent.alive:
                    self.end(executor, machine, agent, "success")
            self.look()
            self.operate()
            self.wait(10 * SECOND)

    def check(self) -> None:
        """What must hold at the end of everything."""
        for view in (row.view for row in self.database.rows.values()):
            assert not view.leased or self.ever_restored, f"{view.node} is still leased"
        for machine in self.machines:
            assert all(agent.starts == 1 for agent in machine.agents.values())
