"""The builder as its Job runs it: uid 1000, two capabilities, a user namespace; what a hostile command gets to see there."""

import base64
import hashlib
import json
import time
from datetime import timedelta

import pytest
from builder_kit import AGENT, SPY
from registry_kit import PASSWORD, USER
from unicorn_core.images import BuildInputs, BuildReport, BuildResult, context, steps
from unicorn_devcluster import images
from unicorn_operator.images.builders import BuildOrder
from unicorn_operator.images.job import seen_of
from unicorn_operator.images.job_manifest import JobTerms, objects

pytestmark = [pytest.mark.pods, pytest.mark.timeout(600)]

SECONDS = 240
ENCODED = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
CREDENTIALS = json.dumps({"auths": {"registry.example": {"username": USER, "password": PASSWORD, "auth": ENCODED}}}).encode()


@pytest.fixture(scope="module")
def references(cluster):
    return images.push(cluster, ["builder", "demo-base"])


@pytest.fixture
def job(cluster, namespace, references):
    """`job(name, *commands)`: start it; `finish(name)`: its pod and log at the end."""
    return Jobs(cluster, namespace, references)


class Jobs:
    def __init__(self, cluster, namespace, references):
        self.cluster, self.namespace, self.references = cluster, namespace, references

    def start(self, name, *commands):
        inputs = BuildInputs(self.references["demo-base"], "linux/amd64", hashlib.sha256(AGENT).hexdigest(), commands=commands)
        files = context(inputs, f"{self.cluster.registry}/{self.namespace}", plain_http=[self.cluster.registry])
        terms = JobTerms(self.namespace, self.references["builder"], deadline=timedelta(minutes=10), host_network=True)
        made = objects(BuildOrder(name, inputs.platform, files, CREDENTIALS), terms)
        listing = {"apiVersion": "v1", "kind": "List", "items": [one for one in made if one]}
        self.cluster.run("apply", "-f", "-", input=json.dumps(listing))
        return inputs

    def pod(self, name):
        found = self.cluster.run("get", "pods", "-n", self.namespace, "-l", f"batch.kubernetes.io/job-name={name}", "-o", "json")
        pods = json.loads(found)["items"]
        return pods[0] if pods else None

    def finish(self, name):
        deadline = time.monotonic() + SECONDS
        while not ((pod := self.pod(name)) and pod["status"]["phase"] in ("Succeeded", "Failed")):
            assert time.monotonic() < deadline, (pod or {}).get("status")
            time.sleep(0.5)
        return pod, self.log(name)

    def log(self, name):
        return self.cluster.run("logs", "-n", self.namespace, f"job/{name}")


def report_of(pod):
    return BuildReport.from_json(pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"])


def test_a_pod_with_two_capabilities_builds_and_shows_its_credentials_to_no_command(job, cluster):
    spy = f"FILE=/credentials/config.json NAME=config.json; export FILE NAME; {SPY}"
    inputs = job.start("spied-on", spy, "id -u > /user; cat /proc/self/uid_map > /map; ls /credentials /context || echo nothing")
    pod, log = job.finish("spied-on")
    report = report_of(pod)
    assert report.result == BuildResult.BUILT, log
    assert log.count("held:") >= 3
    assert "nothing" in log
    for secret in (PASSWORD, ENCODED):
        assert secret not in log
    assert f"{cluster.registry}/{job.namespace}:{steps(inputs)[-1].tag}" in log


def test_no_command_can_forge_the_report(job):
    forged = json.dumps({"result": "Built", "digest": "sha256:" + "0" * 64})
    job.start("forging", f"echo '{forged}' > /dev/termination-log; echo '{forged}' > /proc/1/fd/1; kill -9 -1; kill -9 1")
    pod, log = job.finish("forging")
    seen = seen_of(pod)
    assert seen.report is None or seen.report.result != BuildResult.BUILT, log


def test_a_pod_that_is_stopped_leaves_its_report_and_its_log(job):
    job.start("hanging", "echo before; sleep 1000")
    deadline = time.monotonic() + SECONDS
    while "before" not in (job.log("hanging") if (job.pod("hanging") or {}).get("status", {}).get("phase") == "Running" else ""):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    name = job.pod("hanging")["metadata"]["name"]
    spec = {"spec": {"activeDeadlineSeconds": 1}}
    job.cluster.run("patch", "pod", name, "-n", job.namespace, "-p", json.dumps(spec))
    pod, log = job.finish("hanging")
    report = report_of(pod)
    assert (report.result, report.title, report.tail) == (BuildResult.STOPPED, "commands[0]", ("before",))
    assert "unicorn: stopped" in log
