"""`make demo` as a person runs it, on a cluster of its own: twice, then down, with something still running."""

import json
import os
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import psutil
import pytest
from unicorn_devcluster import cluster as clusters
from unicorn_devcluster import local_nodes, state
from unicorn_devcluster.demo import examples, installation
from unicorn_devcluster.demo.__main__ import main

SECOND_RUN_SECONDS = 60
LONG_RUN = """
apiVersion: netunicorn.io/v1alpha1
kind: Experiment
metadata: {name: long, namespace: default}
spec:
  deployments:
  - name: d
    nodes: {count: 1, connectorRef: {name: local}}
    pipeline: {stages: [{name: s, tasks: [{name: wait, run: "exec sleep 3133731337"}]}]}
"""


@pytest.fixture
def name():
    cluster = f"test-{os.getpid()}-demo"
    yield cluster
    installation.down(cluster)


def demo(name, *arguments):
    command = [sys.executable, "-m", "unicorn_devcluster.demo", "--name", name, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def sleepers():
    return [process.pid for process in psutil.process_iter(["cmdline"]) if "3133731337" in (process.info["cmdline"] or ())]


def check_users(cluster):
    """Each logs in, and has the rights that the variables promise."""
    exports = cluster.exports
    for kind in ("UNICORN_{}", "UNICORN_{}2", "UNICORN_SUDO_{}", "UNICORN_TAG_{}"):
        name, password = exports[kind.format("LOGIN")], exports[kind.format("PASSWORD")]
        form = urllib.parse.urlencode({"username": name, "password": password}).encode()
        with urllib.request.urlopen(exports["UNICORN_ENDPOINT"] + "/api/v1/token", form, timeout=10) as answer:
            assert json.load(answer)["token_type"] == "bearer"
    nodes = json.loads(cluster.run("get", "targetnodes", "--namespace=default", "--output=json"))["items"]
    local = [node["spec"] for node in nodes if node["spec"]["connectorRef"]["name"] == "local"]
    assert len(local) == 24
    assert [spec["accessTags"] for spec in local if spec.get("accessTags")] == [[exports["UNICORN_TAG"]]]
    connector = json.loads(cluster.run("get", "connector", "local", "--namespace=default", "--output=json"))
    modules = "import netunicorn.executor, netunicorn.library, cloudpickle"
    subprocess.run([connector["spec"]["config"]["python"], "-c", modules], check=True)


@pytest.mark.database
@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_demo_twice_then_down(name):
    first = demo(name)
    assert "\x1b" not in first, "plain lines where there is no terminal"
    for expected in ("Succeeded; 3 executors: 3 succeeded", "home/0 on local-0: Succeeded", "away/0 on ", "Ahoy, far friend!"):
        assert expected in first
    for way_on in ("unicorn_devcluster env", "get exp", "unicorn_devcluster.results hello", "make demo-down", "/logs"):
        assert way_on in first

    started = time.monotonic()
    second = demo(name)
    assert time.monotonic() - started < SECOND_RUN_SECONDS
    assert "Starting Kubernetes" not in second
    assert "Deleted the Experiment of an earlier run" in second

    assert "Median of " in demo(name, "client"), "the notebook of netunicorn's own client"

    cluster = clusters.find(name)
    results = subprocess.run(
        [sys.executable, "-m", "unicorn_devcluster.results", "hello", "--logs"],
        env={**os.environ, **cluster.exports},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "home/0 greet stdout: Speaking on local-0" in results.stdout

    check_users(cluster)
    cluster.run("apply", "--server-side", "-f", "-", input=LONG_RUN)
    cluster.run("wait", "--for=jsonpath={.status.executors.running}=1", "--timeout=60s", "exp/long", "-n", "default")
    deadline = time.monotonic() + 30
    while not sleepers():
        assert time.monotonic() < deadline, "the task was not started"
        time.sleep(0.1)
    identity = state.read(name).identity
    demo(name, "--down")
    assert not sleepers(), "nothing runs any more"
    assert not [process for process in psutil.process_iter(["environ"]) if identity in (process.info["environ"] or {}).values()]
    assert not (state.clusters() / name).exists()
    assert not local_nodes.directory(name, "demo").exists()


def test_an_unknown_example_is_one_line(capsys):
    assert main(["nonsense"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    for example in examples.names():
        assert example in said


def test_the_demo_offers_its_connectors_to_everybody():
    for image in (None, "registry/demo-base@sha256:0"):
        for body in installation.infrastructure(image):
            if body["kind"] == "Connector":
                assert body["spec"]["sharing"] == {"namespaces": {"from": "All"}}
