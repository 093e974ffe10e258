"""What an experiment refers to, found in the caches: pipelines and environments for the snapshot, nodes for the allocation."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from unicorn_core.access import may_have
from unicorn_core.admission import check_agent, check_environment, check_pipeline
from unicorn_core.connector import EnvironmentType
from unicorn_core.errors import Problem, Refused
from unicorn_core.pipelines import check_params, compile_pipeline, param_values
from unicorn_core.planning.allocation import Demand, Offer
from unicorn_core.planning.sharing import may_use
from unicorn_core.platforms import same_platform
from unicorn_core.resources import (
    ConnectorSpec,
    DeploymentSpec,
    EnvironmentSpec,
    ExperimentSpec,
    Model,
    PipelineSpec,
    TargetNodeSpec,
    dump,
    load,
)
from unicorn_store.experiments import DeploymentSnapshot

from unicorn_operator.cache import Cache, Caches, Object
from unicorn_operator.experiments.environments import inline_environment, requirements_of, with_requirements
from unicorn_operator.status import condition_of

M = TypeVar("M", bound=Model)


@dataclass(frozen=True, slots=True)
class Resolved:
    """Everything an attempt needs to know, or why it is not known."""

    deployments: tuple[DeploymentSnapshot, ...]
    missing: tuple[str, ...]
    problems: tuple[Problem, ...]


def serialized_graphs(spec: ExperimentSpec, namespace: str, caches: Caches) -> set[str]:
    """The digests of the serialized graphs that it refers to, itself or by a Pipeline."""
    found: set[Any] = {one.pipeline.serialized.sha256 for one in spec.deployments if one.pipeline and one.pipeline.serialized}
    for reference in (one.pipeline_ref for one in spec.deployments if one.pipeline_ref):
        item = caches.pipelines.get(namespace, reference.name) or {}
        found.add(((item.get("spec") or {}).get("serialized") or {}).get("sha256"))
    return {digest for digest in found if isinstance(digest, str)}


def resolve(spec: ExperimentSpec, namespace: str, caches: Caches, graphs: Mapping[str, bool]) -> Resolved:
    """`graphs`: of the serialized graphs that are there, whether they report results."""
    deployments: list[DeploymentSnapshot] = []
    missing: list[str] = []
    problems: list[Problem] = []
    for position, deployment in enumerate(spec.deployments):
        at = f"spec.deployments[{position}]"
        try:
            snapshot = _snapshot(deployment, position, at, namespace, caches, graphs, missing, problems)
        except Refused as refused:
            problems.extend(refused.problems)
            continue
        if snapshot is not None:
            deployments.append(snapshot)
    missing.extend(_missing_connectors(spec, namespace, caches))
    return Resolved(tuple(deployments), tuple(dict.fromkeys(missing)), tuple(problems))


def _snapshot(
    deployment: DeploymentSpec,
    position: int,
    at: str,
    namespace: str,
    caches: Caches,
    graphs: Mapping[str, bool],
    missing: list[str],
    problems: list[Problem],
) -> DeploymentSnapshot | None:
    pipeline = deployment.pipeline
    if pipeline is None and deployment.pipeline_ref is not None:
        pipeline = _referred(
            caches.pipelines, namespace, deployment.pipeline_ref.name, PipelineSpec, f"{at}.pipelineRef", missing
        )
    environment = deployment.environment
    if environment is None and deployment.environment_ref is not None:
        environment = _referred(
            caches.environments, namespace, deployment.environment_ref.name, EnvironmentSpec, f"{at}.environmentRef", missing
        )
        if environment is None:
            return None
    if pipeline is None:
        return None
    found = check_params(deployment.params, pipeline, f"{at}.params")
    if deployment.environment_ref is not None or deployment.pipeline_ref is not None:  # admission saw only what is inline
        found += check_agent(environment, pipeline, f"{at}.environmentRef" if deployment.environment_ref else f"{at}.environment")
    problems.extend(found)
    if found:
        return None
    digest = pipeline.serialized.sha256 if pipeline.serialized else None
    if digest is not None and digest not in graphs:
        missing.append(f"the serialized graph {digest}")
        return None
    complete = with_requirements(environment, pipeline)
    if complete is None and (needed := requirements_of(pipeline)):
        problems.append(
            Problem(at, "has no environment, and its tasks have requirements", "write one with build or shell", needed[0])
        )
        return None
    if complete is not None and complete != environment:  # no admission has seen the two together
        complete = _checked(complete, _whence(deployment, at))
    own = complete is not None and (deployment.environment_ref is None or complete != environment)
    body = {
        "environment": dump(complete) if complete else None,
        "environmentRef": deployment.environment_ref.name if deployment.environment_ref and not own else None,
        "inlineEnvironment": inline_environment(complete) if own and complete and complete.build else None,
        "cleanup": deployment.cleanup,
        "keepAliveSeconds": deployment.keep_alive.total_seconds(),
        "reportResults": pipeline.report_results and graphs.get(digest or "", True),
    }
    params = param_values(deployment.params, pipeline)
    return DeploymentSnapshot(deployment.name, position, compile_pipeline(pipeline), params, body, digest)


def _whence(deployment: DeploymentSpec, at: str) -> str:
    """Where an environment with its tasks' requirements comes from."""
    if deployment.environment_ref is not None:
        return f"{at}.environmentRef({deployment.environment_ref.name}, with the requirements of tasks).spec"
    return f"{at}.environment(with the requirements of tasks)"


def _checked(environment: EnvironmentSpec, at: str) -> EnvironmentSpec:
    """Raises Refused."""
    found = load(EnvironmentSpec, dump(environment), at=at)
    if problems := check_environment(found, at):
        raise Refused(problems)
    return found


def _referred(cache: Cache, namespace: str, name: str, model: type[M], at: str, missing: list[str]) -> M | None:
    item = cache.get(namespace, name)
    if item is None or item["metadata"].get("deletionTimestamp"):
        missing.append(f"{cache.kind} {namespace}/{name}")
        return None
    where = f"{at}({name}).spec"
    spec = load(model, item.get("spec") or {}, at=where)
    problems = check_pipeline(spec, where) if isinstance(spec, PipelineSpec) else []
    problems += check_environment(spec, where) if isinstance(spec, EnvironmentSpec) else []
    if problems:
        raise Refused(problems)
    return spec


def _missing_connectors(spec: ExperimentSpec, namespace: str, caches: Caches) -> Iterable[str]:
    for deployment in spec.deployments:
        reference = deployment.nodes.connector_ref
        if reference is None:
            continue
        home = reference.namespace or namespace
        connector = caches.connectors.get(home, reference.name)
        if connector is None or connector["metadata"].get("deletionTimestamp"):
            yield f"Connector {home}/{reference.name}"
        elif not _allowed(connector, namespace, caches):
            yield f"Connector {home}/{reference.name} (it is not shared with namespace {namespace}; see its spec.sharing)"


def unasked_arguments(resolved: Resolved) -> list[Problem]:
    """Where no admission asks who may pass arguments to container engines, nobody may."""
    return [
        Problem(
            f"spec.deployments[{one.position}]: environment.runtime.additionalArguments",
            "cannot be allowed: this operator serves no webhooks, and so does not know who asks",
            "remove it, or switch webhooks on",
        )
        for one in resolved.deployments
        if ((one.body["environment"] or {}).get("runtime") or {}).get("additionalArguments")
    ]


def environment_of(body: Mapping[str, Any]) -> EnvironmentSpec | None:
    """The environment in a deployment's snapshot."""
    return load(EnvironmentSpec, body["environment"]) if body["environment"] else None


def demands(
    spec: ExperimentSpec,
    namespace: str,
    environments: Mapping[str, EnvironmentSpec | None],
    caches: Caches,
    tags: frozenset[str] | None,
) -> list[Demand]:
    """What each deployment wants, with the nodes that it may use. `tags`: of the user, see `may_have`."""
    usable = {
        f"{c['metadata']['namespace']}/{c['metadata']['name']}": c
        for c in caches.connectors
        if not c["metadata"].get("deletionTimestamp") and _allowed(c, namespace, caches)
    }
    offers: dict[str, list[Offer]] = {
        path: [offer for offer in _offers(path, connector, caches) if may_have(tags, offer.access_tags)]
        for path, connector in sorted(usable.items())
    }
    found = []
    for deployment in spec.deployments:
        reference = deployment.nodes.connector_ref
        if reference is None:
            mine = [offer for group in offers.values() for offer in group]
        else:
            mine = offers.get(f"{reference.namespace or namespace}/{reference.name}", [])
        found.append(Demand(deployment.name, deployment.nodes, _kind(environments.get(deployment.name)), mine))
    return found


def _kind(environment: EnvironmentSpec | None) -> EnvironmentType | None:
    if environment is None:
        return None
    return EnvironmentType.SHELL if environment.shell is not None else EnvironmentType.IMAGE


def _offers(path: str, connector: Object, caches: Caches) -> list[Offer]:
    uid = UUID(connector["metadata"]["uid"])
    healthy = condition_of(connector, "Healthy")
    return [
        offer
        for node in caches.target_nodes.find("connector", path)
        if (offer := _offer(node, uid, path, healthy.get("status") != "False", healthy.get("reason", ""))) is not None
    ]


def _offer(node: Object, connector_uid: UUID, connector: str, healthy: bool, why: str) -> Offer | None:
    try:
        spec = load(TargetNodeSpec, node.get("spec") or {})
    except Refused:
        return None  # its own reconciler says so
    status = node.get("status") or {}
    ready = condition_of(node, "Ready")
    reasons = {
        "being deleted": bool(node["metadata"].get("deletionTimestamp")),
        "unschedulable": spec.unschedulable,
        f"its connector is not healthy ({why})": not healthy,
        ready.get("reason") or "not seen yet": ready.get("status") != "True",
    }
    why_not = next((text for text, holds in reasons.items() if holds), "")
    return Offer(
        uid=UUID(node["metadata"]["uid"]),
        name=spec.node_name,
        connector_uid=connector_uid,
        connector=connector,
        slots=spec.slots,
        elastic=spec.elastic is not None,
        ready=not why_not,
        why_not=why_not,
        architecture=same_platform(status.get("architecture") or "unknown"),
        environments=frozenset(EnvironmentType(kind) for kind in status.get("environments") or ()),
        properties={**(status.get("properties") or {}), **spec.property_overrides},
        access_tags=frozenset(spec.access_tags),
        address=spec.address,
    )


def _allowed(connector: Object, namespace: str, caches: Caches) -> bool:
    try:
        spec = load(ConnectorSpec, connector.get("spec") or {})
    except Refused:
        return False
    return may_use(spec, connector["metadata"]["namespace"], namespace, caches.namespace_labels(namespace))
