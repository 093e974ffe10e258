"""ServiceAccounts for processes of ours that run beside the cluster: each has the rights that manifests/ gives it, no others."""

import base64
import time
from pathlib import Path
from typing import Any

import yaml

from .cluster import Cluster, ClusterError

_RBAC = Path(__file__).resolve().parents[2] / "manifests/base/user-gateway-rbac.yaml"
_NAME = "unicorn-user-gateway"
_SECONDS = 20.0


def user_name(namespace: str) -> str:
    """The user API's, as Kubernetes knows it."""
    return f"system:serviceaccount:{namespace}:{_NAME}"


def user_gateway(cluster: Cluster, namespace: str, directory: Path) -> Path:
    """A kubeconfig for a user API whose ServiceAccount stands in this namespace. Raises ToolError, ClusterError."""
    objects = [_placed(body, namespace) for body in yaml.safe_load_all(_RBAC.read_text())]
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/service-account-token",  # its token lasts for as long as it does
        "metadata": {"name": _NAME, "namespace": namespace, "annotations": {"kubernetes.io/service-account.name": _NAME}},
    }
    cluster.run("apply", "--server-side", "--force-conflicts", "-f", "-", input=yaml.safe_dump_all([*objects, secret]))
    path = directory / "user-gateway.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(_kubeconfig(cluster, _token(cluster, namespace))))
    return path


def remove(cluster: Cluster, namespace: str) -> None:
    """What does not go with the namespace. Raises ToolError."""
    cluster.run("delete", "clusterrolebinding", f"{_NAME}-{namespace}", "--ignore-not-found")


def _placed(body: dict[str, Any], namespace: str) -> dict[str, Any]:
    """Several stacks may share a cluster: each binds its own ServiceAccount."""
    if body["kind"] == "ServiceAccount":
        return {**body, "metadata": {**body["metadata"], "namespace": namespace}}
    if body["kind"] == "ClusterRoleBinding":
        subjects = [{**subject, "namespace": namespace} for subject in body["subjects"]]
        return {**body, "metadata": {"name": f"{_NAME}-{namespace}"}, "subjects": subjects}
    return body


def _token(cluster: Cluster, namespace: str) -> str:
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        found = cluster.run("get", "secret", _NAME, "--namespace", namespace, "--output=jsonpath={.data.token}")
        if found:
            return base64.b64decode(found).decode()
        time.sleep(0.1)
    raise ClusterError(f"the ServiceAccount {namespace}/{_NAME} gets no token")


def _kubeconfig(cluster: Cluster, token: str) -> dict[str, Any]:
    """The cluster's own, with another user."""
    content: dict[str, Any] = yaml.safe_load(cluster.kubeconfig.read_text())
    current = next(entry for entry in content["contexts"] if entry["name"] == content["current-context"])
    return {
        **content,
        "contexts": [{"name": _NAME, "context": {"cluster": current["context"]["cluster"], "user": _NAME}}],
        "current-context": _NAME,
        "users": [{"name": _NAME, "user": {"token": token}}],
    }
