"""The environments of an attempt: what its executors start from is chosen once, and what is not there yet is waited for."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from unicorn_core.errors import NotFound
from unicorn_core.naming import API_VERSION, LABEL_INLINE
from unicorn_core.planning.builds import Hopeless, NotYet, Ready
from unicorn_core.planning.views import Hindrance
from unicorn_core.resources import EnvironmentSpec
from unicorn_kube.resource import ENVIRONMENTS
from unicorn_store.builds import Compiled, note_compiled, read_compiled

from unicorn_operator.dependents import learn
from unicorn_operator.experiments.environments import content_of
from unicorn_operator.experiments.resolution import environment_of
from unicorn_operator.experiments.subject import Subject
from unicorn_operator.images import Asker, Look, Wanted
from unicorn_operator.key import Key
from unicorn_operator.world import World

OWNERS = 32  # Experiments that one inline Environment names; the others use it unnamed


async def compile_environments(
    subject: Subject, attempt: int, asked_at: datetime, world: World
) -> tuple[tuple[str, Hindrance], ...]:
    """Deployment -> why it has no images yet. Those of the others are noted in the attempt's snapshot, where they stay.

    Raises StoreUnavailable, Broken.
    """
    open_ones: dict[str, tuple[Compiled, EnvironmentSpec]] = {}
    for one in await read_compiled(world.store, subject.uid, attempt):
        environment = environment_of(one.body)
        if environment is not None and environment.shell is None and one.images is None:
            open_ones[one.deployment] = (one, environment)
    if not open_ones:
        return ()
    asker = Asker(Key("Experiment", subject.namespace, subject.name), subject.uid, asked_at)
    wanted = {name: Wanted(environment, one.builds) for name, (one, environment) in open_ones.items()}
    found = []
    for name, look in (await world.images.look(asker, wanted)).items():
        one, environment = open_ones[name]
        await _note(subject, attempt, one, look, world)
        await _show_inline(subject, one, environment, world)
        if (why := hindrance_of(look, one.body)) is not None:
            found.append((name, why))
    return tuple(found)


def hindrance_of(look: Look, body: Mapping[str, Any]) -> Hindrance | None:
    name = body.get("environmentRef") or body.get("inlineEnvironment")
    of = f"environment {name}: " if name else ""
    match look.verdict:
        case NotYet(reason, message):
            return Hindrance(reason, of + message)
        case Hopeless(reason, message):
            return Hindrance(reason, of + message, fatal=True)
        case Ready():
            return None


async def _note(subject: Subject, attempt: int, one: Compiled, look: Look, world: World) -> None:
    images = look.verdict.images if isinstance(look.verdict, Ready) else None
    if images is not None or dict(look.hashes) != dict(one.builds):
        await note_compiled(world.store, subject.uid, attempt, one.deployment, builds=look.hashes, images=images)


async def _show_inline(subject: Subject, one: Compiled, environment: EnvironmentSpec, world: World) -> None:
    """The Environment that stands for an inline one: it shows the build, and goes with the last Experiment that uses it."""
    name = one.body.get("inlineEnvironment")
    if not name:
        return
    there = world.caches.environments.get(subject.namespace, name)
    owners = [owner["uid"] for owner in (there or {}).get("metadata", {}).get("ownerReferences") or ()]
    if str(subject.uid) in owners or len(owners) >= OWNERS:
        return
    body = {
        "apiVersion": API_VERSION,
        "kind": "Environment",
        "metadata": {
            "name": name,
            "namespace": subject.namespace,
            "labels": {LABEL_INLINE: "true"},
            "ownerReferences": [
                {"apiVersion": API_VERSION, "kind": "Experiment", "name": subject.name, "uid": str(subject.uid)},
            ],
        },
        "spec": content_of(environment),
    }
    try:
        written = await world.kube.apply(ENVIRONMENTS, body, f"netunicorn-experiment-{subject.uid}")
    except NotFound:
        return  # the namespace goes
    learn(world.caches, world.queue, "Environment", {"kind": "Environment", **written})
    world.queue.add(Key("Environment", subject.namespace, name))  # the watch brings no news of it any more
