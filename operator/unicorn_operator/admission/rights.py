"""Whether a user may: asked of the API server, for whoever it says has sent the request."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from unicorn_core.admission.arguments import RESOURCE, VERB
from unicorn_core.naming import GROUP
from unicorn_kube import KubeClient
from unicorn_kube.resource import SUBJECT_ACCESS_REVIEWS

MayUseArguments = Callable[[Mapping[str, Any], str], Awaitable[bool]]
"""(userInfo, namespace). Raises Broken."""


def may_use_arguments(kube: KubeClient) -> MayUseArguments:
    async def may(user: Mapping[str, Any], namespace: str) -> bool:
        attributes = {"group": GROUP, "resource": RESOURCE, "verb": VERB, "namespace": namespace}
        spec = {"user": user.get("username", ""), "resourceAttributes": attributes}
        spec |= {key: user[key] for key in ("groups", "uid", "extra") if user.get(key)}
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        status = (await kube.create(SUBJECT_ACCESS_REVIEWS, body)).get("status") or {}
        return bool(status.get("allowed")) and not status.get("denied")

    return may
