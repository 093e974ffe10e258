"""Pods on the embedded cluster: they run, find each other, and reach the host."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from unicorn_devcluster import images, registry
from unicorn_devcluster.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.pods]

_PROBE = """
import socket, subprocess, sys, urllib.request
host, port = sys.argv[1:]
print(urllib.request.urlopen(f"http://{host}:{port}/", timeout=10).read().decode())
assert socket.gethostbyname("kubernetes.default.svc.cluster.local").startswith("10.")
socket.create_connection(("kubernetes.default", 443), 10).close()
subprocess.run(["ping", "-c", "1", "-W", "5", host], check=True, stdout=subprocess.DEVNULL)
try:
    socket.gethostbyname("example.org")
except socket.gaierror as error:
    assert error.errno == socket.EAI_NONAME, error
else:
    sys.exit("a foreign name resolves")
try:
    socket.create_connection(("192.0.2.77", 80), 5)
except OSError as error:
    assert error.strerror == "Network is unreachable", error
print("all well")
"""


class _Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello from the host")

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(cluster: Cluster) -> Iterator[http.server.ThreadingHTTPServer]:
    """A server on the host, where pods can reach it."""
    with http.server.ThreadingHTTPServer((cluster.host_address, 0), _Hello) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_pod_without_privileges_reaches_what_it_should(
    cluster: Cluster, namespace: str, server: http.server.ThreadingHTTPServer
) -> None:
    image = images.push(cluster, ["demo-base"])["demo-base"]
    command = ["python3", "-c", _PROBE, cluster.host_address, str(server.server_port)]
    run_pod(cluster, namespace, "probe", {"containers": [container("main", image, command)]})
    said = cluster.run("logs", "-n", namespace, "probe")
    assert said == "hello from the host\nall well\n"


def test_an_image_archive_is_loaded(cluster: Cluster, namespace: str) -> None:
    archive = Path(cluster.directory / "kubernetes").resolve().parent / "pause.tar"
    reference = registry.load(cluster, archive)
    assert reference.startswith(f"{cluster.registry}/pause@sha256:")
    cluster.run("run", "-n", namespace, "pause", f"--image={reference}", "--restart=Never")
    cluster.run("wait", "-n", namespace, "pod/pause", "--for=condition=Ready", "--timeout=60s")


def test_images_in_the_registry_are_not_built_again(cluster: Cluster) -> None:
    before = images.push(cluster, ["demo-base"])
    said: list[str] = []
    assert images.push(cluster, ["demo-base"], said.append) == before
    assert said == []
    assert images.recorded(cluster)["demo-base"] == before["demo-base"]


def test_an_init_container_brings_the_agent_to_any_image(cluster: Cluster, namespace: str) -> None:
    made = images.push(cluster, ["agent", "demo-base"])
    place = {"name": "agent", "mountPath": "/agent"}
    bring = container("bring", made["agent"], ["python3", "/opt/unicorn/copy.py", "/agent"], volumeMounts=[place])
    look = "import sys, zipfile; sys.exit(not zipfile.is_zipfile('/agent/executor.pyz'))"
    main = container("main", made["demo-base"], ["python3", "-c", look], volumeMounts=[{**place, "readOnly": True}])
    volumes = [{"name": "agent", "emptyDir": {}}]
    run_pod(cluster, namespace, "brought", {"initContainers": [bring], "containers": [main], "volumes": volumes})


def test_the_servers_are_in_their_images(cluster: Cluster, namespace: str) -> None:
    made = images.push(cluster, ["operator", "gateway"])
    for target, module in (("operator", "unicorn_operator"), ("gateway", "unicorn_gateway")):
        look = f"import {module}, os, sys; assert os.path.exists('/opt/unicorn/executor.pyz'); sys.exit(os.getuid() == 0)"
        main = container("main", made[target], ["python3", "-c", look])
        run_pod(cluster, namespace, target, {"containers": [main]})


def test_the_database_image_serves(cluster: Cluster, namespace: str) -> None:
    image = images.push(cluster, ["postgres"])["postgres"]
    values = {"POSTGRES_PASSWORD": "p w", "POSTGRES_USER": "unicorn", "POSTGRES_DB": "experiments"}
    environment = [{"name": name, "value": value} for name, value in values.items()]
    ready = {"tcpSocket": {"port": 5432}, "periodSeconds": 1}
    main = container("main", image, None, env=environment, readinessProbe=ready)
    start_pod(cluster, namespace, "database", {"containers": [main]})
    cluster.run("wait", "-n", namespace, "pod/database", "--for=condition=Ready", "--timeout=60s")
    address = json.loads(cluster.run("get", "-n", namespace, "pod/database", "-o", "json"))["status"]["podIP"]
    options = {"host": address, "user": "unicorn", "dbname": "experiments"}
    with psycopg.connect(password="p w", **options) as connection:
        assert connection.execute("select current_database()").fetchone() == ("experiments",)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(password="wrong", **options)


def container(name: str, image: str, command: list[str] | None, **more: object) -> dict[str, object]:
    """With the rights of the restricted pod security standard."""
    rights = {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    limits = {"limits": {"cpu": "1", "memory": "256Mi"}}
    made: dict[str, object] = {"name": name, "image": image, "securityContext": rights, "resources": limits, **more}
    return {**made, "command": command} if command else made


def start_pod(cluster: Cluster, namespace: str, name: str, spec: dict[str, object]) -> None:
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, **spec}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec}
    cluster.run("create", "-f", "-", input=json.dumps(pod))


def run_pod(cluster: Cluster, namespace: str, name: str, spec: dict[str, object]) -> None:
    """Run it to its successful end."""
    start_pod(cluster, namespace, name, spec)
    cluster.run("wait", "-n", namespace, f"pod/{name}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
