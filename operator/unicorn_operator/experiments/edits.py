"""Edits during an attempt where no webhook refused them: the attempt goes on with what it may take over, and says the rest."""

from dataclasses import replace

from unicorn_core.admission.experiment import check_edit, permitted_edit
from unicorn_core.planning.views import FINAL_PHASES
from unicorn_core.resources import ExperimentSpec, load
from unicorn_store.experiments import read_recorded_spec

from unicorn_operator.experiments.subject import Subject, phase_of
from unicorn_operator.status import condition_of
from unicorn_operator.world import World


async def guarded(subject: Subject, world: World) -> tuple[Subject, str]:
    """The subject with the spec that counts, and what of the written one is refused (empty: nothing)."""
    phase = phase_of(subject.status)
    if world.settings.webhook or phase in FINAL_PHASES or _was_judged(subject):
        return subject, ""
    recorded = await read_recorded_spec(world.store, subject.uid, subject.status.get("attempt"))
    if recorded is None:  # the attempt has not begun
        return subject, ""
    old = load(ExperimentSpec, recorded)
    if subject.spec is None:
        return replace(subject, spec=old, problems=()), "; ".join(map(str, subject.problems))
    problems = check_edit(subject.spec, old, phase)
    return replace(subject, spec=permitted_edit(subject.spec, old, phase)), "; ".join(map(str, problems))


def _was_judged(subject: Subject) -> bool:
    """Whether an earlier pass of this phase has taken over all of the spec as it is now; or nobody has edited it yet."""
    metadata, status = subject.item["metadata"], subject.status
    if not status:
        return bool(metadata.get("generation") == 1)
    refused = condition_of(subject.item, "Accepted").get("reason") == "EditRefused"
    return not refused and metadata.get("generation") == status.get("observedGeneration")
