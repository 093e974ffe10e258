"""`make demo` in a cluster that somebody else made (UNICORN_KUBECONFIG): all of it pods, and nothing of it left."""

import os
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import psutil
import pytest
from unicorn_devcluster import cluster as clusters
from unicorn_devcluster import leftovers, manifests

KINDS = (
    "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings,roles,rolebindings,serviceaccounts,"
    "mutatingwebhookconfigurations,validatingwebhookconfigurations,networkpolicies,poddisruptionbudgets,persistentvolumeclaims,"
    "deployments,statefulsets,services,pods,configmaps,secrets"
)


class Demo:
    """The demo's command line with these UNICORN_ variables."""

    def __init__(self, name, **environment):
        self.name = name
        rest = {key: value for key, value in os.environ.items() if not key.startswith("UNICORN_")}
        self.environment = {**rest, **environment}

    def run(self, *arguments, module="unicorn_devcluster.demo"):
        command = [sys.executable, "-m", module, *arguments, "--name", self.name]
        return subprocess.run(command, capture_output=True, text=True, timeout=400, check=False, env=self.environment)

    def succeeds(self, *arguments, **options):
        done = self.run(*arguments, **options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refuses(self, *arguments):
        """The one line that says why."""
        done = self.run(*arguments)
        assert done.returncode == 1, done.stdout + done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    @property
    def directory(self):
        return clusters.foreign() / self.name

    def exports(self):
        lines = self.succeeds("env", module="unicorn_devcluster").splitlines()
        return dict(line.removeprefix("export ").split("=", 1) for line in lines)

    def forwards(self):
        found = []
        for process in psutil.process_iter(["environ"]):
            if str(self.directory) in (process.info["environ"] or {}).values():
                found.append(process.pid)
        return sorted(found)


@pytest.fixture
def foreign():
    """An embedded cluster, in the role of somebody else's."""
    leftovers.remove()
    name = f"test-{os.getpid()}-foreign"
    try:
        yield clusters.up(name, pods=True)
    finally:
        clusters.down(name)


@pytest.fixture
def demo(foreign, tmp_path):
    """Its registry speaks plain HTTP, which this machine is told as it would be told of any other."""
    registries = tmp_path / "registries.conf"
    registries.write_text(f'[[registry]]\nlocation = "{foreign.registry}"\ninsecure = true\n')
    demo = Demo(
        f"test-{os.getpid()}-external",
        UNICORN_KUBECONFIG=str(foreign.kubeconfig),
        UNICORN_REGISTRY=foreign.registry,
        CONTAINERS_REGISTRIES_CONF=str(registries),
    )
    yield demo
    demo.run("--down")


def everything(cluster):
    return set(cluster.run("get", KINDS, "--all-namespaces", "--output=name").split())


@pytest.mark.cluster
@pytest.mark.pods
@pytest.mark.timeout(900)
def test_into_a_cluster_that_stays(foreign, demo):
    before = everything(foreign)
    foreign.run("create", "namespace", manifests.NAMESPACE)
    assert "not made by the demo" in demo.refuses(), "somebody's installation is left alone"
    assert "No demo was running" in demo.succeeds("--down")
    foreign.run("delete", "namespace", manifests.NAMESPACE)

    first = demo.succeeds()
    for expected in ("Succeeded; 3 executors: 3 succeeded", "home/0 on ", "away/0 on ", "Ahoy, far friend!", "kubectl -n"):
        assert expected in first
    exports = demo.exports()
    results = subprocess.run(
        [sys.executable, "-m", "unicorn_devcluster.results", "hello"],
        env={**os.environ, **exports},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Ahoy, far friend!" in results.stdout
    forwards = demo.forwards()
    assert len(forwards) == 3, "to PostgreSQL and to the gateways"
    form = {"username": exports["UNICORN_LOGIN"], "password": exports["UNICORN_PASSWORD"]}
    with urllib.request.urlopen(exports["UNICORN_ENDPOINT"] + "/api/v1/token", urllib.parse.urlencode(form).encode()) as answer:
        assert answer.status == 200

    demo.succeeds("pods")  # whose image is looked up in the registry
    assert "needs nodes of the connector `local`" in demo.refuses("best-effort")
    assert demo.exports() == exports, "the ports are the same after an update"
    assert len(demo.forwards()) == 3
    assert not set(demo.forwards()) & set(forwards)

    demo.succeeds("--down")
    assert not demo.forwards()
    assert not demo.directory.exists()
    deadline = time.monotonic() + 60
    while left := everything(foreign) - before:
        assert time.monotonic() < deadline, left
        time.sleep(0.5)
    assert clusters.find(foreign.name), "the cluster itself is left as it is"


@pytest.mark.cluster
def test_what_is_missing_or_wrong_is_one_line(tmp_path):
    name = f"test-{os.getpid()}-nowhere"
    nowhere = str(tmp_path / "kubeconfig")
    assert "UNICORN_REGISTRY" in Demo(name, UNICORN_KUBECONFIG=nowhere).refuses()
    demo = Demo(name, UNICORN_KUBECONFIG=nowhere, UNICORN_REGISTRY="127.0.0.1:1")
    assert nowhere in demo.refuses()
    assert nowhere in demo.refuses("--down")
    shutil.rmtree(demo.directory)
