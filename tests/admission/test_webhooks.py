"""The webhooks, asked by a real API server on behalf of kubectl."""

import io
import json
import re
from pathlib import Path

import pytest
import yaml
from aiohttp.test_utils import TestClient, TestServer
from unicorn_core.naming import FINALIZER
from unicorn_operator.admission.reviews import Rules
from unicorn_operator.admission.serving import BODY_LIMIT, application

pytestmark = pytest.mark.cluster

BAD = yaml.safe_load((Path(__file__).parent / "bad.yaml").read_text())
API = "netunicorn.io/v1alpha1"
USER = "netunicorn.io/user"
TAGS = "netunicorn.io/access-tags"
RBAC = "rbac.authorization.k8s.io/v1"


def a_manifest(kind, name="it", annotations=None, **spec):
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name, "annotations": annotations or {}}, "spec": spec}


def an_experiment(name="it", annotations=None, **spec):
    deployment = {"name": "d", "nodes": {"count": 1}, "pipelineRef": {"name": "p"}}
    return a_manifest("Experiment", name, annotations, **{"deployments": [deployment], **spec})


@pytest.fixture(scope="module")
def refusals(webhooks, administrator):
    """What kubectl says of all bad manifests, applied at once."""
    manifests = [a_manifest(row["kind"], named(row), **row["spec"]) for row in BAD]
    text = "\n---\n".join(map(json.dumps, manifests))
    said = administrator.refused("apply", "--dry-run=server", "-f", "-", manifest=text)
    return re.split(r"^(?=The |Error from server)", said, flags=re.MULTILINE)


def named(row):
    return re.sub("[^a-z0-9]+", "-", row["name"].lower())


@pytest.mark.parametrize("row", BAD, ids=[row["name"] for row in BAD])
def test_bad_manifests_are_refused_with_their_path(row, refusals):
    mine = [text for text in refusals if f'"{named(row)}" is invalid' in text or "strict decoding error" in text]
    assert any(row["path"] in text for text in mine), (row["because"], mine)


@pytest.mark.usefixtures("webhooks")
def test_a_directory_is_applied_in_any_order(kubectl, tmp_path):
    deployment = {
        "name": "d",
        "nodes": {"connectorRef": {"name": "later"}, "all": {}},
        "pipelineRef": {"name": "later"},
        "environmentRef": {"name": "later"},
        "params": [{"name": "x", "value": "1"}],
    }
    pipeline = {"params": [{"name": "x"}], "stages": [{"name": "s", "tasks": [{"name": "t", "run": "echo $(params.x)"}]}]}
    manifests = [
        a_manifest("Experiment", deployments=[deployment]),
        a_manifest("TargetNode", connectorRef={"name": "later"}, nodeName="node-1"),
        a_manifest("Connector", "later", type="fake"),
        a_manifest("Environment", "later", shell={}),
        a_manifest("Pipeline", "later", **pipeline),
    ]
    for number, manifest in enumerate(manifests):
        (tmp_path / f"{number}.yaml").write_text(yaml.safe_dump(manifest))
    assert kubectl("apply", "-f", str(tmp_path)).count(" created") == 5
    kubectl("apply", "-f", str(tmp_path))  # what is applied again is no edit, defaults or not
    assert kubectl.get("exp", "it")["metadata"]["generation"] == 1


@pytest.mark.usefixtures("webhooks")
def test_several_problems_are_told_at_once(kubectl):
    manifest = an_experiment(deadlines={"run": "0s"}, deployments=[{"name": "d", "nodes": {"count": 1}, "keepAlive": "0s",
                             "pipelineRef": {"name": "p"}}])  # fmt: skip
    said = kubectl.refused("apply", "-f", "-", manifest=manifest)
    assert "* spec.deployments[0].keepAlive: is too short (found '0s'); write at least 1s" in said
    assert "* spec.deadlines.run: is too short" in said


@pytest.mark.usefixtures("webhooks")
def test_an_experiment_belongs_to_who_created_it(kubectl_as):
    ann, bob = kubectl_as("ann"), kubectl_as("bob")
    ann.apply(an_experiment())
    assert ann.get("exp", "it")["metadata"]["annotations"][USER] == "ann"

    assert f"metadata.annotations[{USER}]: cannot change" in bob.refused("annotate", "--overwrite", "exp/it", f"{USER}=bob")
    bob.apply(an_experiment(priority=3))
    bob("replace", "-f", "-", manifest=an_experiment(priority=4))
    found = ann.get("exp", "it")
    assert (found["metadata"]["annotations"][USER], found["spec"]["priority"]) == ("ann", 4)


@pytest.mark.usefixtures("webhooks")
def test_the_finalizer_is_there_from_the_start(kubectl):
    """So that the operator need not write it; what others hold an experiment by stays. It can be taken off by hand."""
    kubectl.apply(an_experiment())
    held = an_experiment("held")
    held["metadata"]["finalizers"] = ["example.org/x"]
    kubectl.apply(held)
    assert kubectl.get("exp", "it")["metadata"]["finalizers"] == [FINALIZER]
    assert kubectl.get("exp", "held")["metadata"]["finalizers"] == ["example.org/x", FINALIZER]

    kubectl("patch", "exp/held", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    assert "finalizers" not in kubectl.get("exp", "held")["metadata"]


@pytest.mark.usefixtures("webhooks")
def test_what_lacks_a_spec_is_told_so(kubectl):
    """By the schema: the webhooks' own conditions can do without."""
    kubectl.apply(an_experiment())
    bare = {key: value for key, value in an_experiment().items() if key != "spec"}
    assert "spec: Required value" in kubectl.refused("replace", "-f", "-", manifest=bare)
    assert "spec: Required value" in kubectl.refused("create", "-f", "-", manifest={**bare, "metadata": {"name": "other"}})


@pytest.mark.usefixtures("webhooks")
def test_only_the_user_api_creates_for_another(kubectl_as):
    manifest = an_experiment(annotations={USER: "ann"})
    assert "is not who creates the experiment (bob)" in kubectl_as("bob").refused("create", "-f", "-", manifest=manifest)
    gateway = kubectl_as("system:serviceaccount:default:user-api")
    gateway("create", "-f", "-", manifest=manifest)
    assert gateway.get("exp", "it")["metadata"]["annotations"][USER] == "ann"


@pytest.mark.usefixtures("webhooks")
def test_groups_say_which_access_tags_a_user_has(kubectl_as):
    ann = kubectl_as("ann", "netunicorn:tag:red", "netunicorn:tag:blue")
    ann.apply(an_experiment())
    assert ann.get("exp", "it")["metadata"]["annotations"][TAGS] == "blue,red"
    assert f"metadata.annotations[{TAGS}]: cannot change" in ann.refused("annotate", "--overwrite", "exp/it", f"{TAGS}=green")
    invented = an_experiment("other", annotations={TAGS: "green"})
    assert "are not the access tags of who creates it" in ann.refused("create", "-f", "-", manifest=invented)


@pytest.mark.usefixtures("webhooks")
def test_arguments_for_container_engines_need_a_right(kubectl, kubectl_as):
    """`system:masters`, of whom the kubectl of these tests is one, have every right: here it is asked for a mere user."""
    for role, verbs, resources in (
        ("may-use", ["use"], ["additionalarguments"]),
        ("user", ["*"], ["experiments", "environments"]),
    ):
        rules = [{"apiGroups": ["netunicorn.io"], "verbs": verbs, "resources": resources}]
        metadata = {"name": role, "namespace": kubectl.namespace}
        kubectl.apply({"apiVersion": RBAC, "kind": "Role", "metadata": metadata, "rules": rules})
    for user in ("ann", "bob"):
        kubectl("create", "rolebinding", user, "--role=user", f"--user={user}")
    kubectl("create", "rolebinding", "sudo", "--role=may-use", "--user=bob")
    ann, bob = (kubectl_as(user, masters=False) for user in ("ann", "bob"))
    environment = {"image": {"ref": "x"}, "runtime": {"additionalArguments": ["--privileged"]}}
    said = ann.refused("create", "-f", "-", manifest=a_manifest("Environment", **environment))
    assert "spec.runtime.additionalArguments: ann may not pass arguments to container engines" in said
    assert f"have ClusterRole unicorn-sudo in namespace {kubectl.namespace}" in said
    bob("create", "-f", "-", manifest=a_manifest("Environment", **environment))
    deployment = {"name": "d", "nodes": {"count": 1}, "pipelineRef": {"name": "p"}, "environment": environment}
    said = ann.refused("create", "-f", "-", manifest=an_experiment(deployments=[deployment]))
    assert "spec.deployments[0].environment.runtime.additionalArguments" in said
    bob("create", "-f", "-", manifest=an_experiment(deployments=[deployment]))
    ann("patch", "exp/it", "--type=merge", "-p", '{"spec": {"desiredState": "Cancelled"}}')


@pytest.mark.usefixtures("webhooks")
def test_edits_wait_for_the_end_of_an_attempt(kubectl):
    kubectl.apply(an_experiment())
    said = kubectl.refused("apply", "-f", "-", manifest=an_experiment(start={"together": False}))
    assert "spec.start.together: cannot change during an attempt" in said
    assert "spec.attempt: 2" in said
    assert "spec.attempt: can be raised only when attempt 1 has ended" in kubectl.refused(
        "apply", "-f", "-", manifest=an_experiment(attempt=2)
    )

    status = json.dumps({"status": {"phase": "Failed", "attempt": 1}})
    kubectl("patch", "exp/it", "--subresource=status", "--type=merge", "-p", status)
    assert "set spec.attempt to 2" in kubectl.refused("apply", "-f", "-", manifest=an_experiment(start={"together": False}))
    kubectl.apply(an_experiment(start={"together": False}, attempt=2))
    assert "spec.attempt: can be raised only" in kubectl.refused("apply", "-f", "-", manifest=an_experiment(attempt=3))


@pytest.mark.usefixtures("webhooks")
def test_a_large_experiment_is_judged(kubectl):
    task = {"name": "t", "run": "x" * 60_000}
    deployments = [
        {"name": f"d{i}", "nodes": {"count": 1}, "pipeline": {"stages": [{"name": "s", "tasks": [task]}]}} for i in range(16)
    ]
    kubectl("create", "-f", "-", manifest=an_experiment(deployments=deployments))
    kubectl("patch", "exp/it", "--type=merge", "-p", '{"spec": {"priority": 7}}')


@pytest.mark.usefixtures("webhooks")
def test_what_is_nested_too_deeply_is_refused(kubectl):
    value = "[" * 3000 + "]" * 3000
    task = '{"name": "t", "python": {"object": "m:f", "kwargs": {"x": ' + value + "}}}"
    spec = '{"stages": [{"name": "s", "tasks": [' + task + "]}]}"
    manifest = f'{{"apiVersion": "{API}", "kind": "Pipeline", "metadata": {{"name": "deep"}}, "spec": {spec}}}'
    assert "nested too deeply" in kubectl.refused("create", "--validate=false", "-f", "-", manifest=manifest)
    assert "NotFound" in kubectl.refused("get", "pipeline", "deep")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"request": {}}', b'{"request": {"uid": 1}}', b"[" * 100_000, b"\xff"])
async def test_what_is_no_review_is_a_bad_request(body):
    app = application(Rules(lambda kind, config: None), may_use=None)
    async with TestClient(TestServer(app)) as client:
        for path in ("/mutate", "/validate"):
            answer = await client.post(path, data=body)
            assert answer.status == 400, await answer.text()
        assert (await client.post("/validate", data=io.BytesIO(b"x" * (BODY_LIMIT + 1)))).status == 413
