"""What becomes of a pod that the API refuses."""

import pytest
from unicorn_connectors.kubernetes.refusals import failure
from unicorn_core.connector import Failed, Unknown
from unicorn_core.errors import ApiRefused, NotFound

FORBIDDEN = 'pods "unicorn-1" is forbidden: '


@pytest.mark.parametrize(
    ("error", "outcome", "reason", "why"),
    [
        (ApiRefused(FORBIDDEN + "exceeded quota: q", 403), Failed, "QuotaExceeded", "the user has to free something"),
        (ApiRefused(FORBIDDEN + 'violates PodSecurity "restricted"', 403), Failed, "PodSecurityViolated", "it stays so"),
        (ApiRefused(FORBIDDEN + "because it is being terminated", 403), Failed, "NamespaceTerminating", "it goes"),
        (
            ApiRefused(FORBIDDEN + 'error looking up service account ns/default: serviceaccount "default" not found', 403),
            Unknown,
            "ServiceAccountNotFound",
            "a namespace has one a moment after it was made",
        ),
        (ApiRefused("Unauthorized", 401), Failed, "Unauthorized", "the credentials are wrong"),
        (ApiRefused("Pod is invalid", 422), Failed, "PodRefused", "nothing else is known"),
        (NotFound("namespaces ns not found"), Failed, "NamespaceGone", "nothing can be made there"),
    ],
)
def test_refusals_have_reasons(error, outcome, reason, why):
    found = failure(error)
    assert (type(found), found.reason) == (outcome, reason), why
