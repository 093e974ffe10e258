"""Why the API refused a pod, as a reason."""

from unicorn_core.connector import Failed, Unknown
from unicorn_core.errors import ApiRefused, Broken, NotFound

# The first that fits the API server's words.
_WORDS = (
    ("exceeded quota", "QuotaExceeded"),
    ("violates PodSecurity", "PodSecurityViolated"),
    ("is being terminated", "NamespaceTerminating"),
    ("is forbidden: User", "Unauthorized"),
    ("admission webhook", "PodRefused"),
)


# What a controller of the cluster adds to a new namespace within a second: repeating the request mends it.
_NOT_YET = "error looking up service account"


def failure(error: Broken) -> Failed | Unknown:
    """Unknown where repeating the request may mend it."""
    message = str(error)
    if isinstance(error, ApiRefused) and error.status == 403 and _NOT_YET in message:
        return Unknown("ServiceAccountNotFound", message)
    if isinstance(error, NotFound):
        return Failed("NamespaceGone", message)
    if isinstance(error, ApiRefused) and error.status == 401:
        return Failed("Unauthorized", message)
    return Failed(next((reason for words, reason in _WORDS if words in message), "PodRefused"), message)
