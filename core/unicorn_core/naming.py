"""Names and ids. All of them are deterministic: doing a step twice does it once."""

import re
from typing import NewType
from uuid import UUID, uuid5

GROUP = "netunicorn.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

FINALIZER = "netunicorn.io/cleanup"
KOPF_FINALIZER = "netunicorn.io/kopf"  # never put on an object; kopf strips only its own

LABEL_EXECUTOR = "netunicorn.io/executor"
LABEL_EXPERIMENT = "netunicorn.io/experiment-uid"
LABEL_BUILD = "netunicorn.io/build"  # on all that belongs to a run of a build
LABEL_INLINE = "netunicorn.io/inline"  # on an Environment that stands for one inside of an Experiment
ANNOTATION_USER = "netunicorn.io/user"
ANNOTATION_TAGS = "netunicorn.io/access-tags"  # of the user, comma-separated; absent: the user has none
ANNOTATION_NAME = "netunicorn.io/name"
ANNOTATION_RELEASE_ORPHANS = "netunicorn.io/release-orphans"  # on a TargetNode: "true", or executor ids, comma-separated

ExecutorId = NewType("ExecutorId", UUID)
NodeKey = NewType("NodeKey", UUID)  # metadata.uid of a TargetNode

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def is_dns_label(text: str) -> bool:
    """Lower-case letters, digits and inner hyphens, at most 63 characters (RFC 1123)."""
    return _DNS_LABEL.fullmatch(text) is not None


def executor_id(experiment_uid: UUID, attempt: int, deployment: str, index: int) -> ExecutorId:
    """The id by which an executor is known everywhere: its pod, its directory, its token's subject."""
    return ExecutorId(uuid5(experiment_uid, f"{attempt}/{deployment}/{index}"))


def inline_name(spec_hash: str) -> str:
    """Of the Environment that stands for equal ones inside of Experiments."""
    return f"inline-{spec_hash[:20]}"


def executor_display(experiment: str, attempt: int, deployment: str, index: int) -> str:
    """For people only."""
    return f"{experiment}/{attempt}/{deployment}/{index}"


def pod_name(executor: ExecutorId) -> str:
    """The name of the pod, container or unit that runs this executor."""
    return f"unicorn-{executor}"
