"""What `kubectl apply -k` installs: confined pods, least rights, webhooks that serve."""

import json
import urllib.parse
import urllib.request

import psycopg
import pytest
import yaml

COMPONENTS = ("operator", "executor-gateway", "user-gateway", "postgres")
EXPERIMENT = """
apiVersion: netunicorn.io/v1alpha1
kind: Experiment
metadata: {name: one}
spec:
  deployments:
  - name: d
    nodes: {matchExpressions: [{key: site, operator: In, values: [nowhere]}], count: 1}
    pipeline: {stages: [{name: s, tasks: [{name: t, run: "true"}]}]}
"""


def test_operator_and_gateways_stand_in_two_replicas(installation):
    assert len(installation.pods("operator")) == 2
    assert len(installation.pods("executor-gateway")) == 2
    assert len(installation.pods("user-gateway")) == 2
    assert installation.leader() in {pod["metadata"]["name"] for pod in installation.pods("operator")}


@pytest.mark.parametrize("component", COMPONENTS)
def test_nothing_runs_as_root_or_can_write_to_its_image(installation, component):
    name = installation.pods(component)[0]["metadata"]["name"]
    assert installation.execute(name, "id -u") == {"postgres": "999"}.get(component, "65532")
    assert "Read-only file system" in installation.execute(name, "touch /opt/x")
    assert installation.execute(name, "touch /tmp/x && echo done") == "done"
    status = installation.execute(name, "cat /proc/1/status").splitlines()
    fields = dict(line.split(":\t", 1) for line in status if ":\t" in line)
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"


TOKENS = [("operator", True), ("user-gateway", True), ("executor-gateway", False), ("postgres", False)]


@pytest.mark.parametrize(("component", "has_token"), TOKENS)
def test_who_calls_the_kubernetes_api_has_a_token_and_nobody_else(installation, component, has_token):
    for pod in installation.pods(component):
        mounts = [mount["mountPath"] for part in pod["spec"]["containers"] for mount in part["volumeMounts"]]
        assert ("/var/run/secrets/kubernetes.io/serviceaccount" in mounts) is has_token
    said = installation.execute(installation.pods(component)[0]["metadata"]["name"], "ls /var/run/secrets")
    assert ("No such file" not in said) is has_token


def test_whoever_has_a_way_to_the_database_is_let_in(installation):
    """By the policy's own words: the network plugin of this cluster enforces none."""
    (rule,) = installation.get("networkpolicy", "unicorn-postgres")["spec"]["ingress"]
    (source,) = rule["from"]
    wanted = {one["key"]: one["values"] for one in source["podSelector"]["matchExpressions"]}
    asking = {}
    for pod in installation.get("pods")["items"]:
        parts = [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]
        secrets = [entry.get("valueFrom", {}).get("secretKeyRef", {}) for part in parts for entry in part.get("env", ())]
        if any(secret.get("name", "").endswith("-database") for secret in secrets):
            asking[pod["metadata"]["labels"]["app.kubernetes.io/component"]] = pod["metadata"]["labels"]
    assert set(asking) >= {"operator", "executor-gateway", "user-gateway"}
    for component, labels in asking.items():
        assert all(labels.get(key) in values for key, values in wanted.items()), component


@pytest.mark.parametrize("process", ["executor", "user"])
def test_each_gateway_has_a_database_role_of_its_own(installation, process):
    with psycopg.connect(installation.dsn) as connection:
        query = "SELECT DISTINCT usename FROM pg_stat_activity WHERE application_name LIKE %s"
        assert connection.execute(query, (f"unicorn-{process}-gateway%",)).fetchall() == [(f"{process}_gateway",)]
        query = "SELECT rolsuper OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = %s"
        assert connection.execute(query, (f"{process}_gateway",)).fetchone() == (False,)
        query = "SELECT has_table_privilege(%s, 'unicorn.user_account', 'SELECT')"
        assert connection.execute(query, (f"{process}_gateway",)).fetchone() == (process == "user",)


def test_users_are_made_and_log_in_at_any_replica(installation):
    one, other = installation.pods("user-gateway")
    words = ("exec", "--stdin", one["metadata"]["name"], "--", "unicorn-gateway", "users")
    try:
        made = installation.kubectl(*words, "add", "ann", "--namespace", "default", input="a long enough one\n")
        assert made.endswith("--user=netunicorn:ann\n")
        form = urllib.parse.urlencode({"username": "ann", "password": "a long enough one"}).encode()
        with urllib.request.urlopen(f"http://{one['status']['podIP']}:26511/api/v1/token", form, timeout=10) as answer:
            token = json.load(answer)["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        for pod in (one, other):
            verify = urllib.request.Request(f"http://{pod['status']['podIP']}:26511/api/v1/verify_token", headers=headers)
            with urllib.request.urlopen(verify, timeout=10) as answer:
                assert answer.status == 200
    finally:
        installation.kubectl(*words, "remove", "ann")


def test_every_policy_and_budget_has_its_pods(installation):
    """Whether policies are enforced is the network plugin's; whom they mean is ours."""
    for kind, place in (("networkpolicies", "podSelector"), ("poddisruptionbudgets", "selector")):
        for item in installation.get(kind)["items"]:
            labels = item["spec"][place]["matchLabels"]
            selector = ",".join(f"{key}={value}" for key, value in labels.items())
            assert installation.get("pods", f"--selector={selector}")["items"], item["metadata"]["name"]


def test_explain_knows_the_fields(installation):
    assert "matchExpressions" in installation.kubectl("explain", "experiment.spec.deployments.nodes")
    assert "namespaces" in installation.kubectl("explain", "connector.spec.sharing")


def test_the_webhooks_refuse_a_bad_manifest_and_name_the_user(installation, namespace, refused):
    bad = EXPERIMENT.replace('run: "true"', 'run: "echo $(params.nothing)"')
    said = refused("apply", "--namespace", namespace, "--filename", "-", input=bad)
    assert "spec.deployments[0].pipeline.stages[0].tasks[0].run" in said
    installation.kubectl("apply", "--namespace", namespace, "--filename", "-", input=EXPERIMENT)
    annotations = installation.get("experiment", "one", "--namespace", namespace)["metadata"]["annotations"]
    assert annotations["netunicorn.io/user"]


RIGHTS = [
    ("unicorn-user", "create", "experiments", True),
    ("unicorn-user", "delete", "pipelines", True),
    ("unicorn-user", "update", "environments", True),
    ("unicorn-user", "list", "targetnodes", True),
    ("unicorn-user", "create", "connectors", False),
    ("unicorn-user", "update", "targetnodes", False),
    ("unicorn-user", "patch", "experiments/status", False),
    ("unicorn-user", "get", "secrets", False),
    ("unicorn-user", "use", "additionalarguments", False),
    ("unicorn-sudo", "use", "additionalarguments", True),
    ("unicorn-sudo", "create", "experiments", False),
    ("admin", "use", "additionalarguments", False),
    ("unicorn-infrastructure", "create", "connectors", True),
    ("unicorn-infrastructure", "create", "targetnodes", True),
    ("unicorn-infrastructure", "create", "experiments", False),
    ("unicorn-infrastructure", "get", "secrets", False),
    ("edit", "create", "experiments", True),
    ("edit", "create", "connectors", False),
    ("edit", "watch", "connectors", True),
    ("admin", "create", "experiments", True),
    ("admin", "create", "connectors", False),
    ("view", "get", "experiments", True),
    ("view", "create", "experiments", False),
]


@pytest.fixture(scope="module")
def people(installation):
    """A namespace in which each role is given to one user of its name."""
    name, group = "people", "rbac.authorization.k8s.io"
    objects = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}]
    for role in sorted({role for role, *_ in RIGHTS}):
        binding = {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": role, "namespace": name},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": group, "kind": "User", "name": role}],
        }
        objects.append(binding)
    installation.cluster.run("apply", "--server-side", "--filename", "-", input=yaml.safe_dump_all(objects))
    yield name
    installation.cluster.run("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize(("role", "verb", "resource", "allowed"), RIGHTS)
def test_what_people_may_do(can, people, role, verb, resource, allowed):
    assert can(role, verb, resource, people) is allowed


@pytest.mark.parametrize(
    ("verb", "resource"),
    [
        ("create", "pods/exec"),
        ("delete", "secrets"),
        ("update", "secrets"),
        ("create", "deployments"),
        ("create", "clusterrolebindings"),
        ("patch", "customresourcedefinitions"),
        ("create", "experiments"),
        ("create", "serviceaccounts/token"),
        ("delete", "namespaces"),
    ],
)
def test_what_the_operator_may_not_do(can, verb, resource):
    assert not can("system:serviceaccount:netunicorn-system:unicorn-operator", verb, resource, "default")


@pytest.mark.parametrize("resource", ["pods", "secrets", "experiments", "configmaps"])
def test_the_gateway_may_do_nothing(can, resource):
    assert not can("system:serviceaccount:netunicorn-system:unicorn-executor-gateway", "get", resource, "netunicorn-system")


@pytest.mark.parametrize(
    ("verb", "resource", "allowed"),
    [
        ("create", "experiments", True),
        ("delete", "experiments", True),
        ("list", "targetnodes", True),
        ("patch", "experiments/status", False),
        ("create", "connectors", False),
        ("patch", "targetnodes", False),
        ("get", "secrets", False),
        ("list", "secrets", False),
        ("delete", "secrets", False),
        ("create", "pods", False),
        ("create", "rolebindings", False),
        ("impersonate", "users", False),
        ("impersonate", "groups", False),
        ("impersonate", "serviceaccounts", False),
    ],
)
def test_what_the_user_api_may_do_by_itself(can, verb, resource, allowed):
    assert can("system:serviceaccount:netunicorn-system:unicorn-user-gateway", verb, resource, "default") is allowed


@pytest.fixture
def can(installation):
    def ask(user, verb, resource, namespace):
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": user,
                "groups": ["system:authenticated"],
                "resourceAttributes": _attributes(verb, resource, namespace),
            },
        }
        answer = installation.kubectl("create", "--filename", "-", "--output", "yaml", input=yaml.safe_dump(review))
        return yaml.safe_load(answer)["status"]["allowed"]

    return ask


GROUPS = {
    "deployments": "apps",
    "clusterrolebindings": "rbac.authorization.k8s.io",
    "rolebindings": "rbac.authorization.k8s.io",
    "customresourcedefinitions": "apiextensions.k8s.io",
    **dict.fromkeys(
        ("experiments", "pipelines", "environments", "connectors", "targetnodes", "additionalarguments"), "netunicorn.io"
    ),
}


def _attributes(verb, resource, namespace):
    plural, _, subresource = resource.partition("/")
    group = GROUPS.get(plural, "")
    return {"verb": verb, "group": group, "resource": plural, "subresource": subresource, "namespace": namespace}


def test_applying_again_changes_nothing(installation):
    overlay = str(installation.cluster.directory / "manifests")
    assert installation.kubectl("diff", "--server-side", "--force-conflicts", "--kustomize", overlay) == ""
