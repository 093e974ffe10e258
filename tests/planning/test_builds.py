"""Builds: whose turn it is, what becomes of a run, and what that means for those who wait."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from unicorn_core.images import BuildReport, BuildResult
from unicorn_core.planning.builds import (
    MESSAGE,
    REASONS_OF_RESULTS,
    TRIES,
    Begin,
    Build,
    BuildState,
    Finish,
    Hopeless,
    Keep,
    NotYet,
    OpenBuild,
    Postpone,
    Ready,
    Request,
    Seen,
    Stage,
    bases,
    judge_builds,
    judge_run,
    message_of,
    next_builds,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DEADLINE = timedelta(minutes=30)
WAITING, RUNNING = BuildState.WAITING, BuildState.RUNNING


def build(name: str, namespace: str = "a", state: BuildState = WAITING, minutes: int = 0, **more) -> OpenBuild:
    """One that was asked for `minutes` after the others."""
    at = NOW - 60 * MINUTE + minutes * MINUTE
    return OpenBuild(name, "linux/amd64", namespace, state, at, more.pop("not_before", at), **more)


@pytest.mark.parametrize(
    ("why", "builds", "limit", "expected"),
    [
        ("nothing waits", [build("1", state=RUNNING)], 4, []),
        ("the first come first", [build("2", minutes=2), build("1", minutes=1)], 1, ["1"]),
        ("as many as there is room for", [build("1"), build("2"), build("3", state=RUNNING)], 2, ["1"]),
        ("no room", [build("1"), build("2", state=RUNNING)], 1, []),
        (
            "more run than may: the limit was lowered",
            [build("1"), *(build(f"r{i}", state=RUNNING) for i in range(3))],
            2,
            [],
        ),
        (
            "who has nothing running comes before who came first",
            [build("a1"), build("a2", state=RUNNING), build("b1", "b", minutes=9)],
            2,
            ["b1"],
        ),
        (
            "they take turns",
            [*(build(f"a{i}", "a", minutes=i) for i in range(4)), *(build(f"b{i}", "b", minutes=10 + i) for i in range(2))],
            4,
            ["a0", "b0", "a1", "b1"],
        ),
        ("one that is to be tried later waits", [build("1", not_before=NOW + MINUTE), build("2", minutes=5)], 2, ["2"]),
        (
            "one that begins like one under way waits for what they share",
            [build("1", state=RUNNING, layers=("a", "b", "c")), build("2", layers=("a", "b", "d")), build("3", layers=("e",))],
            4,
            ["3"],
        ),
        (
            "and is started when that is done",
            [build("1", state=RUNNING, layers=("a", "b", "c"), step="3/3 x"), build("2", layers=("a", "b", "d"))],
            4,
            ["2"],
        ),
        (
            "also among those that are to be started",
            [build("1", layers=("a", "b")), build("2", layers=("a", "c"), minutes=1), build("3", layers=("a", "d"), minutes=2)],
            4,
            ["1"],
        ),
        (
            "one without any cache finds nothing, and leaves nothing",
            [build("1", layers=("a", "b"), fresh=True), build("2", layers=("a", "c")), build("3", layers=("a", "c"), fresh=True)],
            4,
            ["1", "2", "3"],
        ),
        ("its time has come", [build("1", not_before=NOW)], 2, ["1"]),
    ],
)
def test_turns(why, builds, limit, expected):
    assert [one.hash for one in next_builds(builds, limit, NOW)] == expected, why


def test_what_is_made_is_not_waited_for():
    builds = [build("1", layers=("a", "b")), build("2", layers=("a", "c")), build("3", layers=("a", "c", "d"))]
    assert [one.hash for one in next_builds(builds, 4, NOW, {"a"})] == ["1", "2"]
    assert [one.hash for one in next_builds(builds, 4, NOW, {"a", "c"})] == ["1", "2", "3"]


class _Many(frozenset):
    """Layers that were made, of which there may be fifty thousand."""

    def __iter__(self):
        raise AssertionError("they are all gone through for a pair of builds")


def test_what_is_made_is_looked_into_only():
    builds = [build(str(number), layers=("a", str(number)), minutes=number) for number in range(30)]
    assert len(next_builds(builds, 30, NOW, _Many({"a"}))) == 30


def test_forty_namespaces_are_served_evenly():
    """However many builds one namespace asks for, another one waits for at most one of them to end."""
    crowd = [build(f"crowd-{index}", "crowd", minutes=0) for index in range(100)]
    others = [build(f"other-{index}", f"other-{index}", minutes=1) for index in range(39)]
    chosen = next_builds([*crowd, *others], 40, NOW)
    assert len({one.namespace for one in chosen}) == 40


def request(base: str, secret: str = "", namespace: str = "a") -> Request:
    return Request(uuid.uuid4(), namespace, base, secret)


@pytest.mark.parametrize(
    ("why", "requests", "waits", "expected"),
    [
        ("nobody waits", [], 3, []),
        ("who asked last first", [request("x"), request("y")], 0, ["x", "y"]),
        ("each way once", [request("x"), request("x"), request("y", "s"), request("x"), request("y", "t")], 0, ["x", "y", "y"]),
        ("the next time from another place", [request("x"), request("y"), request("z")], 1, ["y", "z", "x"]),
        ("and from the beginning again", [request("x"), request("y")], 2, ["x", "y"]),
        ("a Secret's name means something in its namespace", [request("x", "s"), request("x", "s", "b")], 0, ["x", "x"]),
    ],
)
def test_where_the_base_comes_from(why, requests, waits, expected):
    assert [one.base for one in bases(build("1", requests=tuple(requests), waits=waits))] == expected, why


STARTED = build("h", state=RUNNING, run=1, started=NOW - MINUTE, step="2/5 pip")


def report(result: BuildResult, **more) -> BuildReport:
    return BuildReport(result, **more)


def ended(result: BuildResult | None, why: str = "", **more) -> Seen:
    return Seen(Stage.ENDED, report(result, **more) if result else None, why)


@pytest.mark.parametrize(
    ("why", "build", "seen", "wanted", "expected"),
    [
        ("it goes on", STARTED, Seen(Stage.RUNNING, step="3/5 apt"), True, Keep("3/5 apt")),
        ("no mark is seen at the moment", STARTED, Seen(Stage.RUNNING), True, Keep("2/5 pip")),
        ("its pod is being made", STARTED, Seen(Stage.PENDING), True, Keep("2/5 pip")),
        (
            "something holds it up",
            STARTED,
            Seen(Stage.PENDING, why="Unschedulable: no node"),
            True,
            Keep("2/5 pip", "BuilderWaiting", "Unschedulable: no node"),
        ),
        ("its Job is gone, or was never made", STARTED, Seen(Stage.ABSENT), True, Begin()),
        (
            "its Job goes again and again",
            replace(STARTED, tries=TRIES),
            Seen(Stage.ABSENT),
            True,
            Finish(BuildState.FAILED, "BuilderBroken", "its builder went away 3 times"),
        ),
        (
            "it is gone, and its time was over long ago: it may have ended while the operator was away",
            replace(STARTED, started=NOW - 2 * DEADLINE),
            Seen(Stage.ABSENT),
            True,
            Begin(),
        ),
        (
            "nobody waits for it",
            STARTED,
            Seen(Stage.RUNNING),
            False,
            Finish(BuildState.CANCELLED, "BuildCancelled", "nobody waits for it any more"),
        ),
        ("nobody waits, but it is done: that is kept", STARTED, ended(BuildResult.BUILT), False, Finish(BuildState.SUCCEEDED)),
        (
            "its time is over",
            replace(STARTED, started=NOW - DEADLINE),
            Seen(Stage.RUNNING, step="3/5 commands[0]: sleep"),
            True,
            Finish(
                BuildState.FAILED, "BuildDeadlineExceeded", "it did not end within 30 min; it had come to step 2/5 pip"
            ),
        ),
        (
            "its time is over, and it never began",
            replace(STARTED, started=NOW - DEADLINE, step=""),
            Seen(Stage.PENDING, why="ImagePullBackOff"),
            True,
            Finish(BuildState.FAILED, "BuildDeadlineExceeded", "it did not end within 30 min"),
        ),
        ("it came to its end just in time", replace(STARTED, started=NOW - DEADLINE), ended(BuildResult.BUILT), True,
         Finish(BuildState.SUCCEEDED)),
        (
            "a command failed",
            STARTED,
            ended(BuildResult.COMMAND_FAILED, step=4, title="commands[1]", exit_code=7, tail=("a", "", " b "),
                  message="ended with exit code 7"),
            True,
            Finish(
                BuildState.FAILED, "BuildFailed", "step 4 (commands[1]) failed: ended with exit code 7; its log ends: a | b"
            ),
        ),
        (
            "the registry is away",
            STARTED,
            ended(BuildResult.REGISTRY_UNREACHABLE, message="no route"),
            True,
            Postpone(timedelta(seconds=0.5), "RegistryUnreachable", "no route"),
        ),
        (
            "for as long as it is away",
            replace(STARTED, waits=50),
            ended(BuildResult.REGISTRY_UNREACHABLE, message="no route"),
            True,
            Postpone(timedelta(seconds=30), "RegistryUnreachable", "no route"),
        ),
        (
            "less often when each try does the work of some steps",
            STARTED,
            ended(BuildResult.REGISTRY_UNREACHABLE, message="no route", step=5),
            True,
            Postpone(timedelta(seconds=15), "RegistryUnreachable", "no route"),
        ),
        (
            "in the end every ten minutes",
            replace(STARTED, waits=50),
            ended(BuildResult.REGISTRY_UNREACHABLE, message="no route", step=5),
            True,
            Postpone(10 * MINUTE, "RegistryUnreachable", "no route"),
        ),
        (
            "our own registry lets us push no more: that is nobody's fault who asked",
            STARTED,
            ended(BuildResult.PUSH_REFUSED, message="denied"),
            True,
            Postpone(timedelta(seconds=0.5), "RegistryUnauthorized", "denied"),
        ),
        ("the base is gone", STARTED, ended(BuildResult.BASE_NOT_FOUND, message="gone"), True,
         Finish(BuildState.FAILED, "ImageNotFound", "gone")),
        (
            "the base is gone there, and somebody has it from elsewhere",
            replace(STARTED, requests=(request("x"), request("y"))),
            ended(BuildResult.BASE_NOT_FOUND, message="gone"),
            True,
            Postpone(timedelta(seconds=0.5), "ImageNotFound", "gone"),
        ),
        (
            "the base is gone everywhere",
            replace(STARTED, requests=(request("x"), request("y")), waits=1),
            ended(BuildResult.BASE_NOT_FOUND, message="gone"),
            True,
            Finish(BuildState.FAILED, "ImageNotFound", "gone"),
        ),
        (
            "what was waited for is no try of a broken builder's",
            replace(STARTED, waits=50, step=""),
            ended(None, "Evicted: disk"),
            True,
            Postpone(timedelta(seconds=0.5), "BuilderBroken", "Evicted: disk", broken=True),
        ),
        (
            "its pod was evicted",
            STARTED,
            ended(None, "Evicted: disk"),
            True,
            Postpone(timedelta(seconds=15), "BuilderBroken", "Evicted: disk", broken=True),
        ),
        (
            "it is killed each time",
            replace(STARTED, tries=TRIES),
            ended(None, "OOMKilled"),
            True,
            Finish(BuildState.FAILED, "BuilderBroken", "OOMKilled"),
        ),
        ("somebody stopped it", STARTED, ended(BuildResult.STOPPED, message="stopped"), True,
         Postpone(timedelta(seconds=0.5), "BuilderBroken", "stopped", broken=True)),
        (
            "a platform that cannot be built here",
            STARTED,
            ended(BuildResult.PLATFORM_NOT_BUILDABLE, step=1, title="python", message="no emulation"),
            True,
            Finish(BuildState.FAILED, "PlatformNotBuildable", "step 1 (python) failed: no emulation"),
        ),
    ],
)  # fmt: skip
def test_runs(why, build, seen, wanted, expected):
    assert judge_run(build, seen, wanted, NOW, DEADLINE) == expected, why


def test_the_last_line_of_a_log_survives_in_the_message():
    lines = [
        f"Get:{number} http://deb.example/debian bookworm/main amd64 lib{number} amd64 1.2.3-4 [{number} kB]"
        for number in range(50)
    ]
    lines[-1] = "E: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?"
    said = report(BuildResult.COMMAND_FAILED, step=4, title="apt", message="x" * 700, tail=(*lines, ""))
    message = message_of(said)
    assert message.startswith("step 4 (apt) failed: xxx")
    assert message.endswith(" | " + lines[-1])
    assert message.count(" | ") == 4
    assert len(message) <= MESSAGE
    assert len(message_of(replace(said, tail=("y" * 1000,) * 50))) <= MESSAGE
    assert message_of(replace(said, tail=())) == "step 4 (apt) failed: " + "x" * 700


def test_every_result_of_a_builder_has_a_consequence():
    for result in BuildResult:
        assert judge_run(STARTED, ended(result), True, NOW, DEADLINE) is not None
    assert set(REASONS_OF_RESULTS) == set(BuildResult) - {
        BuildResult.BUILT, BuildResult.BROKEN, BuildResult.STOPPED, BuildResult.REGISTRY_UNREACHABLE,
        BuildResult.PUSH_REFUSED,
    }  # fmt: skip


def asked(state: BuildState, platform: str = "linux/amd64", **more) -> Build:
    return Build("f" * 64, platform, state, **more)


@pytest.mark.parametrize(
    ("why", "builds", "expected"),
    [
        ("done", [asked(BuildState.SUCCEEDED, image="r@1")], Ready({"linux/amd64": "r@1"})),
        ("an image of before serves while it is made anew", [asked(RUNNING, image="r@1")], Ready({"linux/amd64": "r@1"})),
        ("also when that failed", [asked(BuildState.FAILED, image="r@1")], Ready({"linux/amd64": "r@1"})),
        ("its turn is to come", [asked(WAITING)], NotYet("Building", "build ffffffffffff: waits for its turn")),
        ("it runs", [asked(RUNNING, step="2/4 pip: x")], NotYet("Building", "build ffffffffffff: step 2/4 pip: x")),
        ("it begins", [asked(RUNNING)], NotYet("Building", "build ffffffffffff: its builder starts")),
        (
            "it is tried again",
            [asked(WAITING, reason="RegistryUnreachable", message="away")],
            NotYet("Building", "build ffffffffffff: waits for its turn (RegistryUnreachable: away)"),
        ),
        ("it failed", [asked(BuildState.FAILED, reason="BuildFailed", message="no")], Hopeless("BuildFailed", "no")),
        (
            "one platform failed, another is under way",
            [asked(RUNNING), asked(BuildState.FAILED, "linux/arm64", reason="PlatformNotBuildable", message="no")],
            Hopeless("PlatformNotBuildable", "linux/arm64: no"),
        ),
        (
            "one platform is missing",
            [asked(BuildState.SUCCEEDED, image="r@1"), asked(WAITING, "linux/arm64")],
            NotYet("Building", "build ffffffffffff for linux/arm64: waits for its turn"),
        ),
        (
            "its renewal is under way",
            [asked(RUNNING, image="r@1", renewal=True, honoured=False)],
            NotYet("Building", "build ffffffffffff: its builder starts"),
        ),
        (
            "its renewal is done",
            [asked(BuildState.SUCCEEDED, image="r@2", renewal=True)],
            Ready({"linux/amd64": "r@2"}),
        ),
        (
            "its renewal failed",
            [asked(BuildState.FAILED, image="r@1", renewal=True, reason="BuildFailed", message="no")],
            Hopeless("BuildFailed", "no"),
        ),
    ],
)
def test_verdicts(why, builds, expected):
    assert judge_builds(builds) == expected, why
