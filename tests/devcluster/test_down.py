"""Down leaves nothing behind, whatever happened before; two clusters do not disturb each other."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from unicorn_devcluster import cluster as clusters
from unicorn_devcluster import images, processes, state
from unicorn_devcluster.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.pods]

T = TypeVar("T")

_NAME = f"test-{os.getpid()}-down"


@dataclass(frozen=True)
class Moment:
    """Of the way up: from when on `is_reached` is true."""

    name: str
    is_reached: Callable[[state.Record], bool]


MOMENTS = [
    Moment("recorded, nothing made", lambda record: True),
    Moment("the bridge is there", lambda record: bool(_links(record))),
    Moment("etcd runs", lambda record: bool(_processes(record, "etcd"))),
    Moment("containerd listens", lambda record: (record.directory / "containerd.sock").exists()),
    Moment("the kubelet runs", lambda record: bool(_processes(record, "kubelet"))),
    Moment("everything runs", lambda record: bool(_processes(record, "coredns"))),
]


@pytest.fixture
def fresh() -> Iterator[str]:
    """A name for a cluster of the test's own."""
    yield _NAME
    clusters.down(_NAME)


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.name)
def test_killed_on_the_way_up(fresh: str, moment: Moment) -> None:
    command = [sys.executable, "-m", "unicorn_devcluster", "up", "--name", fresh]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as going:
        record = _await(lambda: state.read(fresh), going)
        _await(lambda: moment.is_reached(record), going)
        going.kill()
    clusters.down(fresh)
    assert _left(record) == {}


def test_after_a_crash_of_everything_with_pods_running(fresh: str) -> None:
    cluster = clusters.up(fresh, pods=True)
    record = state.read(fresh)
    assert record
    image = images.push(cluster, ["demo-base"])["demo-base"]
    cluster.run("run", "sleeper", f"--image={image}", "--restart=Never", "--", "sleep", "1000")
    cluster.run("wait", "pod/sleeper", "--for=condition=Ready", "--timeout=60s")
    for component in ("containerd", "kubelet", "kube-apiserver", "etcd"):
        cluster.stop(component, signal.SIGKILL)
    assert set(_left(record)) >= {"mounts", "links", "processes"}  # what is looked for can be seen
    clusters.down(fresh)
    assert _left(record) == {}


def test_a_second_cluster_leaves_the_first_alone(cluster: Cluster, namespace: str, fresh: str) -> None:
    second = clusters.up(fresh, pods=True)
    first_record, second_record = state.read(cluster.name), state.read(fresh)
    assert first_record
    assert second_record
    assert second_record.network
    assert second_record.network.namespace
    image = images.push(second, ["demo-base"])["demo-base"]
    serve = ["python3", "-m", "http.server", "8000", "--directory", "/etc"]
    with subprocess.Popen(_http_server(second), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for each, name in ((second, "default"), (cluster, namespace)):
                reference = image if each == second else images.push(cluster, ["demo-base"])["demo-base"]
                each.run("run", "-n", name, "web", f"--image={reference}", "--port=8000", "--", *serve)
                each.run("expose", "-n", name, "pod/web", "--port=80", "--target-port=8000")
                each.run("wait", "-n", name, "pod/web", "--for=condition=Ready", "--timeout=60s")
                address = json.loads(each.run("get", "-n", name, "service/web", "-o", "json"))["spec"]["clusterIP"]
                _await(lambda address=address: _get(f"http://{address}/hostname"))  # by kube-proxy, from the host
                inside = f"http://web.{name}.svc.cluster.local/hostname"
                fetch = f"import urllib.request as r; r.urlopen({inside!r}, timeout=10)"
                each.run("exec", "-n", name, "web", "--", "python3", "-c", fetch)
            fetch = f"import urllib.request as r; r.urlopen('http://{second.host_address}:18099/', timeout=10)"
            second.run("exec", "web", "--", "python3", "-c", fetch)
        finally:
            server.kill()
    clusters.down(fresh)
    assert _left(second_record) == {}
    assert "web" in cluster.run("get", "-n", namespace, "pods")
    address = json.loads(cluster.run("get", "-n", namespace, "service/web", "-o", "json"))["spec"]["clusterIP"]
    assert _get(f"http://{address}/hostname")


def _http_server(cluster: Cluster) -> list[str]:
    return [
        sys.executable,
        "-m",
        "http.server",
        "18099",
        "--bind",
        cluster.host_address,
        "--directory",
        str(Path(__file__).parent),
    ]


def _get(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _left(record: state.Record) -> dict[str, object]:
    """What can still be seen of this cluster, by kind."""
    found: dict[str, object] = {
        "processes": [process.cmdline() for process in processes.marked({state.MARK: record.identity})],
        "mounts": [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"{record.directory}/" in line],
        "links": _links(record),
        "directory": record.directory.exists(),
        "logs": [path for path in Path("/var/log/containers").glob("*") if str(record.directory) in os.readlink(path)],
    }
    others = [other.network for other in state.every() if other.network and other.name != record.name]
    if not others:
        found["cgroups"] = list(Path("/sys/fs/cgroup").glob("**/k8s.io"))
        found["kernel"] = [name for name, value in record.kernel.items() if Path(name).read_text().strip() != value]
    if all(other.namespace for other in others):
        found["tables"] = _has_table()
    return {key: value for key, value in found.items() if value}


def _links(record: state.Record) -> list[str]:
    assert record.network
    names = (record.network.bridge, record.network.veth)
    return [path.name for path in Path("/sys/class/net").iterdir() if path.name in names]


def _processes(record: state.Record, component: str) -> list[object]:
    return list(processes.marked({state.MARK: record.identity, state.COMPONENT: component}))


def _has_table() -> bool:
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    return "kube-proxy" in tables


def _await(what: Callable[[], T | None], going: "subprocess.Popen[bytes] | None" = None) -> T:
    """What it returns as soon as it is something; fails after a minute, or when the process ends."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := what():
            return found
        assert going is None or going.poll() is None, "the process has ended"
        time.sleep(0.005)
    raise AssertionError("not within a minute")
