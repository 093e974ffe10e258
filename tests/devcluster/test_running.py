"""The embedded cluster from up to down, as its users see it."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest
from unicorn_devcluster import cluster as clusters
from unicorn_devcluster.cluster import Cluster, ClusterError

pytestmark = pytest.mark.cluster


def test_the_node_is_ready(cluster: Cluster) -> None:
    if not cluster.pods:
        pytest.skip("the control plane alone has no node")
    nodes = json.loads(cluster.run("get", "nodes", "-o", "json"))["items"]
    (ready,) = [c["status"] for node in nodes for c in node["status"]["conditions"] if c["type"] == "Ready"]
    assert ready == "True"


def test_the_kubelet_need_not_wait_for_the_node_authorizer(cluster: Cluster) -> None:
    node = json.loads(cluster.run("get", "nodes", "-o", "json"))["items"][0]["metadata"]["name"]
    for kind in ("secrets", "configmaps"):
        said = cluster.run("auth", "can-i", "get", f"{kind}/of-a-pod-it-heard-of-first", "--as", f"system:node:{node}")
        assert said.strip() == "yes", kind


def test_up_returns_the_running_cluster(cluster: Cluster) -> None:
    before = cluster.pids("kube-apiserver")
    assert clusters.up(cluster.name) == cluster
    assert cluster.pids("kube-apiserver") == before
    assert cluster in clusters.every()


def test_env_puts_a_person_into_what_runs(cluster: Cluster) -> None:
    cluster.record_export("UNICORN_DATABASE_URL", "postgresql://u:p'w@127.0.0.1/x")
    command = f'eval "$({shlex.quote(sys.executable)} -m unicorn_devcluster env --name {cluster.name})" && env'
    printed = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout.splitlines()
    assert f"KUBECONFIG={cluster.kubeconfig}" in printed
    assert "UNICORN_DATABASE_URL=postgresql://u:p'w@127.0.0.1/x" in printed


def test_who_has_no_kubectl_gets_the_clusters_own(cluster: Cluster, tmp_path: Path) -> None:
    command = f'eval "$({shlex.quote(sys.executable)} -m unicorn_devcluster env --name {cluster.name})" && kubectl get namespaces'
    environment = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(["/bin/sh", "-c", command], env=environment, capture_output=True, text=True, check=True)
    assert "kube-system" in done.stdout


def test_the_api_server_can_be_killed_and_started_again(cluster: Cluster, namespace: str) -> None:
    (before,) = cluster.pids("kube-apiserver")
    cluster.stop("kube-apiserver", signal.SIGKILL)
    assert cluster.pids("kube-apiserver") == []
    cluster.start("kube-apiserver")
    (after,) = cluster.pids("kube-apiserver")
    assert after != before
    assert namespace in cluster.run("get", "namespaces")


def test_a_spawned_process_lives_as_long_as_the_cluster(cluster: Cluster) -> None:
    pid = cluster.spawn("sleeper", ["sleep", "1000"], {"COLOUR": "green"})
    assert b"COLOUR=green" in Path(f"/proc/{pid}/environ").read_bytes()
    cluster.restart("sleeper")
    (again,) = cluster.pids("sleeper")
    assert again != pid
    cluster.stop("sleeper")


def test_what_a_spawned_process_starts_is_not_taken_for_it(cluster: Cluster) -> None:
    start = "import subprocess, time; subprocess.Popen(['sleep', '1000'], start_new_session=True); time.sleep(1000)"
    pid = cluster.spawn("parent", [sys.executable, "-c", start])
    (child,) = wait_until(lambda: psutil.Process(pid).children())
    cluster.stop("parent", signal.SIGKILL)
    assert cluster.pids("parent") == []
    assert child.is_running()
    cluster.restart("parent")
    cluster.stop("parent")
    assert child.is_running()  # until the cluster goes down
    child.kill()


def test_its_database_lives_as_long_as_the_cluster(cluster: Cluster) -> None:
    server = cluster.postgres(fast=True)
    assert cluster.postgres() == server
    with psycopg.connect(server.create_database("mine")) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_what_does_not_run_is_said_in_a_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "unicorn_devcluster", "status", "--name", "nobody"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert clusters.find("nobody") is None
    with pytest.raises(ClusterError, match="no name"):
        clusters.up("../etc")


def wait_until(what: Callable[[], list[psutil.Process]]) -> list[psutil.Process]:
    deadline = time.monotonic() + 10
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def test_the_control_plane_alone_needs_no_network() -> None:
    name = f"test-{os.getpid()}-api"
    try:
        alone = clusters.up(name, pods=False)
        assert (alone.host_address, alone.registry, alone.pods) == ("127.0.0.1", None, False)
        assert "default" in alone.run("get", "serviceaccounts")
        server = alone.postgres(fast=True)
    finally:
        clusters.down(name)
    assert clusters.find(name) is None
    assert not alone.directory.exists()
    assert server.pid is None
    assert not server.directory.parent.exists()
