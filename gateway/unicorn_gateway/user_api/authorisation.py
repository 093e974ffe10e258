"""What a user may: Kubernetes' RBAC says it, by SubjectAccessReview. Nobody is impersonated, nothing is decided here."""

import time
from collections import OrderedDict
from dataclasses import dataclass, field

from unicorn_core.naming import GROUP
from unicorn_kube import KubeClient
from unicorn_kube.resource import SUBJECT_ACCESS_REVIEWS

from unicorn_gateway.problems import ProblemError
from unicorn_gateway.user_api.callers import Caller

_SECONDS = 5.0  # an answer counts for so long: as long may a right outlive its RoleBinding
_ANSWERS = 10_000
_Question = tuple[str, tuple[str, ...], str, str, str, str]


@dataclass(eq=False)
class Authorizer:
    kube: KubeClient
    _answers: OrderedDict[_Question, tuple[float, bool]] = field(default_factory=OrderedDict)

    async def require(self, caller: Caller, verb: str, resource: str, namespace: str, name: str = "") -> None:
        """Raises ProblemError 403; ApiUnavailable."""
        if not await self.may(caller, verb, resource, namespace, name):
            what = f"{resource} {name!r}" if name else resource
            raise ProblemError(403, "Forbidden", f"{caller.name} may not {verb} {what} in namespace {namespace!r}")

    async def may(self, caller: Caller, verb: str, resource: str, namespace: str, name: str = "") -> bool:
        """`resource`: a plural, perhaps with a subresource (`experiments/status`). Raises ApiUnavailable."""
        question = (caller.kubernetes_user, caller.groups, verb, resource, namespace, name)
        known = self._answers.get(question)
        now = time.monotonic()
        if known is not None and now - known[0] < _SECONDS:
            return known[1]
        allowed = await self._ask(question)
        self._answers[question] = (now, allowed)
        self._answers.move_to_end(question)
        if len(self._answers) > _ANSWERS:
            self._answers.popitem(last=False)
        return allowed

    async def _ask(self, question: _Question) -> bool:
        user, groups, verb, resource, namespace, name = question
        plural, _, subresource = resource.partition("/")
        attributes = {"group": GROUP, "resource": plural, "verb": verb, "namespace": namespace}
        attributes |= {key: value for key, value in (("subresource", subresource), ("name", name)) if value}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "groups": list(groups), "resourceAttributes": attributes},
        }
        answer = await self.kube.create(SUBJECT_ACCESS_REVIEWS, body)
        status = answer.get("status") or {}
        return bool(status.get("allowed")) and not status.get("denied")
