"""The pod and the Secret of an executor. Pure.

The pod is made first and owns the Secret, so that the Secret goes with it, whoever deletes it; the kubelet waits for it.
What must not be read in a pod's spec (the token, the environment's variables) is in the Secret.
"""

import base64
from typing import Any

from unicorn_core.connector import Order
from unicorn_core.naming import LABEL_EXECUTOR, LABEL_EXPERIMENT, pod_name

from unicorn_connectors import netunicorn
from unicorn_connectors.kubernetes.config import KubernetesConfig, PodSecurity
from unicorn_connectors.kubernetes.delivery import DIRECTORY, FILE, INIT_CONTAINER, Delivery

LABEL_CONNECTOR = "netunicorn.io/connector-uid"
ANNOTATION_FENCE = "netunicorn.io/fence"
ANNOTATION_NODE = "netunicorn.io/node"
ANNOTATION_DISPLAY = "netunicorn.io/executor-name"
CONTAINER = "executor"
NODE_PREFIX = "linux-"  # a pool for each architecture: linux-amd64

_USER = 10001
_TERMINATION_SECONDS = 10  # the agent gives its tasks 5
_SECRETS, _WORKDIR = "/var/run/unicorn", "/workdir"


def secret_name(order: Order) -> str:
    """With the fence: the Secret of an earlier start may still be on its way out."""
    return f"{pod_name(order.handle.executor)}-{order.handle.fence}"


def pod(order: Order, namespace: str, connector_uid: str, config: KubernetesConfig, delivery: Delivery | None) -> dict[str, Any]:
    """`delivery` None: the image has netunicorn's own agent."""
    handle = order.handle
    security = _container_security(config.pod_security)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_name(handle.executor),
            "namespace": namespace,
            "labels": {
                "app.kubernetes.io/managed-by": "netunicorn-operator",
                LABEL_CONNECTOR: connector_uid,
                LABEL_EXECUTOR: str(handle.executor),
                LABEL_EXPERIMENT: handle.experiment_uid,
            },
            "annotations": {
                ANNOTATION_FENCE: str(handle.fence),
                ANNOTATION_NODE: handle.node.name,
                ANNOTATION_DISPLAY: order.display,
            },
        },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": _TERMINATION_SECONDS,
            "nodeSelector": {
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": handle.node.name.removeprefix(NODE_PREFIX),
                **config.node_selector,
            },
            "tolerations": config.tolerations,
            "imagePullSecrets": [{"name": order.image_pull_secret}] if order.image_pull_secret else [],
            "securityContext": _pod_security(config.pod_security),
            "volumes": [
                *([delivery.volume()] if delivery else []),
                {"name": "workdir", "emptyDir": {}},
                {"name": "tmp", "emptyDir": {}},
                {"name": "secrets", "secret": {"secretName": secret_name(order), "defaultMode": 0o440, "items": _items(order)}},
            ],
            "initContainers": delivery.init_containers(security) if delivery else [],
            "containers": [
                {
                    "name": CONTAINER,
                    "image": order.image,
                    "command": ["python3", *([f"{DIRECTORY}/{FILE}"] if delivery else netunicorn.ARGUMENTS)],
                    "workingDir": _WORKDIR,
                    "env": _environment(order),
                    "ports": [dict(port) for port in order.runtime.ports],
                    "resources": _resources(order, config),
                    "securityContext": security,
                    "volumeMounts": [
                        *([{"name": INIT_CONTAINER, "mountPath": DIRECTORY, "readOnly": True}] if delivery else []),
                        {"name": "workdir", "mountPath": _WORKDIR},
                        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 the pod's own
                        {"name": "secrets", "mountPath": _SECRETS, "readOnly": True},
                    ],
                }
            ],
        },
    }


def secret(order: Order, namespace: str, pod: str, pod_uid: str) -> dict[str, Any]:
    """Owned by the pod of this name and uid."""
    reference = {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": pod_uid}
    data = {"token": order.token, **{key: value for _, key, value in _hidden(order)}}
    if order.gateway.ca_bundle:
        data["ca.pem"] = order.gateway.ca_bundle
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret_name(order),
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "netunicorn-operator", LABEL_EXECUTOR: str(order.handle.executor)},
            "ownerReferences": [reference],
        },
        "immutable": True,
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


def _items(order: Order) -> list[dict[str, str]]:
    names = ["token", *(["ca.pem"] if order.gateway.ca_bundle else [])]
    return [{"key": name, "path": name} for name in names]


def _environment(order: Order) -> list[dict[str, Any]]:
    """The user's first, ours last: the last of equal names counts."""
    source = secret_name(order)
    hidden = [{"name": name, "valueFrom": {"secretKeyRef": {"name": source, "key": key}}} for name, key, _ in _hidden(order)]
    native = {
        "UNICORN_GATEWAY": order.gateway.endpoint,
        "UNICORN_TOKEN_FILE": f"{_SECRETS}/token",
        "UNICORN_SPOOL": f"{_WORKDIR}/.unicorn",
        "UNICORN_WORKDIR": _WORKDIR,
    }
    ours = {
        **(netunicorn.environment(order) if netunicorn.is_wanted(order) else native),
        **({"UNICORN_CA_FILE": f"{_SECRETS}/ca.pem"} if order.gateway.ca_bundle else {}),
    }
    home = [] if "HOME" in order.runtime.environment else [{"name": "HOME", "value": _WORKDIR}]
    return [*home, *hidden, *({"name": name, "value": value} for name, value in ours.items())]


def _hidden(order: Order) -> list[tuple[str, str, str]]:
    """Variables whose values are in the Secret: name, key there, value."""
    users = [
        (name, f"variable-{index}", value)
        for index, (name, value) in enumerate(order.runtime.environment.items())
        if not name.startswith("UNICORN_")
    ]
    theirs = [(netunicorn.ENDPOINT, "netunicorn-endpoint", netunicorn.endpoint(order))] if netunicorn.is_wanted(order) else []
    return [*users, *theirs]


def _resources(order: Order, config: KubernetesConfig) -> dict[str, Any]:
    """The Environment's word counts, quantity by quantity; the Connector's fills in."""
    merged = {}
    for part in ("requests", "limits"):
        merged[part] = {**getattr(config.resources, part), **order.runtime.resources.get(part, {})}
    return {part: values for part, values in merged.items() if values}


def _pod_security(wanted: PodSecurity) -> dict[str, Any]:
    user = 0 if wanted.run_as_root else _USER
    return {
        "runAsNonRoot": not wanted.run_as_root,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _container_security(wanted: PodSecurity) -> dict[str, Any]:
    capabilities: dict[str, Any] = {"add": list(wanted.add_capabilities)} if wanted.add_capabilities else {}
    if wanted.level == "Restricted":
        capabilities["drop"] = ["ALL"]
    # A program with file capabilities (ping) gets them only where privileges may grow.
    grow = wanted.level == "Baseline" or bool(wanted.add_capabilities)
    return {"allowPrivilegeEscalation": grow, "capabilities": capabilities}
