"""The webhook configurations, written by server-side apply: what is asked, of whom, and who is not asked."""

import base64
from collections.abc import Sequence

import structlog
from unicorn_core.errors import ApiRefused, NotFound
from unicorn_core.naming import GROUP, VERSION
from unicorn_core.resources import KINDS
from unicorn_kube import KubeClient, Object, Resource
from unicorn_kube.resource import CRDS, MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS

from unicorn_operator.admission.settings import AdmissionSettings

FIELD_MANAGER = "unicorn-operator-admission"
MUTATE, VALIDATE = "/mutate", "/validate"
TIMEOUT_SECONDS = 10
SELF_REVIEWS = Resource("authentication.k8s.io", "v1", "selfsubjectreviews", namespaced=False)
_API = "admissionregistration.k8s.io/v1"
_SERVICE_ACCOUNT = "system:serviceaccount:"


log = structlog.get_logger(__name__)


async def register(settings: AdmissionSettings, kube: KubeClient, port: int, ca: bytes) -> None:
    """Write both configurations as they must be. Safe to repeat at any time; raises Broken."""
    excluded = await _own_service_account(kube)
    owners = await _owners(kube)
    for resource, kind, webhook in (
        (MUTATING_WEBHOOKS, "MutatingWebhookConfiguration", _mutating(settings, port, ca, excluded)),
        (VALIDATING_WEBHOOKS, "ValidatingWebhookConfiguration", _validating(settings, port, ca, excluded)),
    ):
        metadata = {"name": settings.configuration, "ownerReferences": owners}
        body = {"apiVersion": _API, "kind": kind, "metadata": metadata, "webhooks": [webhook]}
        await kube.apply(resource, body, FIELD_MANAGER)


async def unregister(kube: KubeClient, configuration: str) -> None:
    """Take both away: for an operator that serves none, so that nobody waits for an answer. Raises ApiUnavailable."""
    for resource in (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS):
        try:
            await kube.delete(resource, None, configuration)
        except NotFound:
            continue
        except ApiRefused as refused:
            log.warning("webhooks are switched off; whether they are still registered is not ours to see", reason=str(refused))


def _mutating(settings: AdmissionSettings, port: int, ca: bytes, excluded: str) -> Object:
    webhook = _webhook(f"user.{GROUP}", settings, settings.reached_at(MUTATE, port), ca, ("experiments",), excluded)
    return {**webhook, "reinvocationPolicy": "Never"}


def _validating(settings: AdmissionSettings, port: int, ca: bytes, excluded: str) -> Object:
    plurals = tuple(kind.plural for kind in KINDS)
    return _webhook(f"rules.{GROUP}", settings, settings.reached_at(VALIDATE, port), ca, plurals, excluded)


def _webhook(name: str, settings: AdmissionSettings, client: Object, ca: bytes, plurals: Sequence[str], excluded: str) -> Object:
    rule = {
        "apiGroups": [GROUP],
        "apiVersions": [VERSION],
        "operations": ["CREATE", "UPDATE"],
        "resources": list(plurals),  # the main resource: status and DELETE are not ours to judge
        "scope": "Namespaced",
    }
    watched = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(settings.watched)}
    condition = {"name": "not-the-operator", "expression": f"request.userInfo.username != '{excluded}'"}
    return {
        "name": name,
        "clientConfig": {**client, "caBundle": base64.b64encode(ca).decode()} if ca else client,
        "rules": [rule],
        "namespaceSelector": {"matchExpressions": [watched]} if settings.watched else {},
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "sideEffects": "None",
        "timeoutSeconds": TIMEOUT_SECONDS,
        "admissionReviewVersions": ["v1"],
        "matchConditions": [_something_to_judge(), *([condition] if excluded else [])],
    }


def _something_to_judge() -> Object:
    """An edit of neither spec nor annotations is never refused: so a finalizer comes off, also by hand while nobody answers."""
    parts = [(f"object.{path}", f"oldObject.{path}") for path in ("spec", "metadata.annotations")]
    changes = (f"(has({new}) ? {new} : {{}}) != (has({old}) ? {old} : {{}})" for new, old in parts)
    return {"name": "something-to-judge", "expression": " || ".join(("request.operation == 'CREATE'", *changes))}


async def _own_service_account(kube: KubeClient) -> str:
    """Our user name when we are a ServiceAccount, else empty: a person's name is shared with that person's kubectl."""
    answer = await kube.create(SELF_REVIEWS, {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
    name: str = answer["status"]["userInfo"].get("username", "")
    return name if name.startswith(_SERVICE_ACCOUNT) else ""


async def _owners(kube: KubeClient) -> list[Object]:
    """The configurations go with our CRDs: without them there is nothing to judge."""
    found = await kube.get(CRDS, None, f"experiments.{GROUP}")
    metadata = found["metadata"]
    return [
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "name": metadata["name"],
            "uid": metadata["uid"],
        }
    ]
