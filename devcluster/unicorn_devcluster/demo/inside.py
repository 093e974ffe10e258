"""The demo's installation where nothing of it runs on this machine: in kind, and in a cluster that somebody else made.

Operator, gateways and PostgreSQL are pods, from manifests/; PostgreSQL and gateways are reached by port-forward. A ConfigMap
marks the installation as the demo's: made before all else, deleted after it. What bears no mark is not touched.
"""

import shutil

from .. import cluster as clusters
from .. import forwarding, manifests
from ..cluster import Cluster, ClusterError
from ..tools import Log, ToolError
from . import people

_MARK = ("--namespace=default", "configmap", "netunicorn-demo")
_POSTGRES = ("statefulset/unicorn-postgres", 5432)
_GATEWAY = ("service/unicorn-executor-gateway", manifests.GATEWAY_PORT)
_USERS = ("service/unicorn-user-gateway", manifests.USER_PORT)
LOGS = f"kubectl -n {manifests.NAMESPACE} logs deployment/unicorn-operator (or unicorn-executor-gateway)"


def up(cluster: Cluster, log: Log) -> tuple[str, str, str]:
    """Install, or bring up to date; returns the DSN and the gateways' URLs, of executors and of users, as this machine sees them.

    Raises ClusterError, ToolError.
    """
    if cluster.kind == "external" and cluster.registry is None:
        raise ClusterError("UNICORN_KUBECONFIG also needs UNICORN_REGISTRY: HOST:PORT of a registry that its cluster pulls from")
    _check_answer(cluster)
    _claim(cluster)
    manifests.apply(cluster, log)
    postgres = forwarding.start(cluster, manifests.NAMESPACE, *_POSTGRES)
    gateway = forwarding.start(cluster, manifests.NAMESPACE, *_GATEWAY)
    endpoint = forwarding.start(cluster, manifests.NAMESPACE, *_USERS)
    dsn = manifests.dsn(cluster, f"127.0.0.1:{postgres}")
    return dsn, f"http://127.0.0.1:{gateway}", f"http://127.0.0.1:{endpoint}"


def down(cluster: Cluster) -> bool:
    """Take it away again, a kind cluster as a whole; whether there was something. Raises ClusterError, ToolError."""
    forwarding.end(cluster.directory)
    found = True
    if cluster.kind == "kind":
        clusters.down(cluster.name)
    else:
        _check_answer(cluster)
        if found := _is_ours(cluster):
            manifests.delete(cluster)
            people.remove(cluster)
            cluster.run("delete", *_MARK)
    shutil.rmtree(cluster.directory, ignore_errors=True)
    return found


def _claim(cluster: Cluster) -> None:
    """Raises ClusterError where somebody else has installed the project: two operators would fight, and `down` would destroy."""
    if _is_ours(cluster):
        return
    for kind, name in (("namespace", manifests.NAMESPACE), ("crd", "experiments.netunicorn.io")):
        if cluster.run("get", kind, name, "--ignore-not-found", "--output=name"):
            raise ClusterError(
                f"the cluster has the {kind} {name}, not made by the demo: it would destroy what is installed there"
            )
    cluster.run("create", *_MARK)


def _is_ours(cluster: Cluster) -> bool:
    return bool(cluster.run("get", *_MARK, "--ignore-not-found", "--output=name"))


def _check_answer(cluster: Cluster) -> None:
    try:
        cluster.run("get", "--raw", "/readyz", "--request-timeout=10s")
    except ToolError as error:
        said = str(error).strip().splitlines()[-1]
        raise ClusterError(f"the cluster of {cluster.kubeconfig} does not answer: {said}") from error
