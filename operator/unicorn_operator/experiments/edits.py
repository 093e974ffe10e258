"""Edits during an attempt where no webhook refused them: the attempt goes on with what it may take over, and says the rest."""

from dataclasses import replace

from unicorn_core.admission.experiment import check_edit, permitted_edit
from unicorn_core.planning.views import FINAL_PHASES, Phase
from unicorn_core.resources import ExperimentSpec, load
from unicorn_store.experiments import read_recorded_spec

from unicorn_operator.experiments.subject import Subject, phase_of
from unicorn_operator.status import condition_of
from unicorn_operator.world import World


async def guarded(subject: Subject, world: World) -> tuple[Subject, str]:
    """The subject with the spec that counts, and what of the written one is refused (empty: nothing)."""
    phase, attempt = phase_of(subject.status), subject.status.get("attempt")
    if world.settings.webhook or attempt is None or phase in FINAL_PHASES or phase is Phase.PENDING:
        return subject, ""
    if _was_judged(subject):
        return subject, ""
    recorded = await read_recorded_spec(world.store, subject.uid, attempt)
    if recorded is None:
        return subject, ""
    old = load(ExperimentSpec, recorded)
    if subject.spec is None:
        return replace(subject, spec=old, problems=()), "; ".join(map(str, subject.problems))
    problems = check_edit(subject.spec, old, phase)
    return replace(subject, spec=permitted_edit(subject.spec, old, phase)), "; ".join(map(str, problems))


def _was_judged(subject: Subject) -> bool:
    """Whether an earlier pass of this phase has taken over all of the spec as it is now."""
    metadata, status = subject.item["metadata"], subject.status
    refused = condition_of(subject.item, "Accepted").get("reason") == "EditRefused"
    return not refused and metadata.get("generation") == status.get("observedGeneration")
