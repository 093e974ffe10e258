"""Who may what, with a real Kubernetes: tokens of ServiceAccounts, SubjectAccessReviews, the rights of the process itself."""

import asyncio

import pytest
import yaml
from e2e_kit import eventually
from unicorn_core.errors import ApiRefused
from unicorn_devcluster import identities
from unicorn_devcluster.stack import ROOT
from unicorn_gateway.problems import ProblemError
from unicorn_gateway.user_api.authorisation import Authorizer
from unicorn_gateway.user_api.callers import Caller
from unicorn_kube import KubeClient, KubeConfig
from unicorn_kube.resource import EXPERIMENTS, SECRETS, TARGET_NODES
from unicorn_store import users

VERIFY = ("GET", "/api/v1/verify_token")
RULES = yaml.safe_load_all((ROOT / "manifests/base/user-gateway-rbac.yaml").read_text())


@pytest.fixture
async def own(user_stack):
    """The Kubernetes API with the rights of the user API."""
    path = identities.user_gateway(user_stack.cluster, user_stack.lease_namespace, user_stack.directory)
    async with KubeClient(KubeConfig.load(path)) as kube:
        yield kube


def caller(user):
    groups = ("netunicorn:users", *(f"netunicorn:{group}" for group in user.account.groups))
    return Caller(user.account.name, user.account.kubernetes_user, groups, user.account.namespace)


async def test_rbac_is_the_policy(served, own):
    ann, nobody = await served.add(), await served.add(role="")
    authorizer = Authorizer(own)
    for verb in ("create", "list", "delete", "patch"):
        assert await authorizer.may(caller(ann), verb, "experiments", served.home)
        assert not await authorizer.may(caller(ann), verb, "experiments", served.other), "another's namespace"
        assert not await authorizer.may(caller(nobody), verb, "experiments", served.home)
    assert not await authorizer.may(caller(ann), "patch", "experiments/status", served.home)
    assert not await authorizer.may(caller(ann), "create", "connectors", served.home)
    assert not await authorizer.may(caller(ann), "use", "additionalarguments", served.home)
    with pytest.raises(ProblemError) as caught:
        await authorizer.require(caller(ann), "delete", "experiments", served.other, "x")
    assert (caught.value.status, caught.value.reason) == (403, "Forbidden")
    assert caught.value.detail == f"{ann.account.name} may not delete experiments 'x' in namespace {served.other!r}"


async def test_groups_of_an_account_are_groups_of_kubernetes_with_a_prefix(served, own):
    ann = await served.add(role="", groups=["students", "system:masters"])
    authorizer = Authorizer(own)
    assert not await authorizer.may(caller(ann), "list", "experiments", served.home), "whatever an account says"
    served.bind(served.home, "unicorn-view", "--group=netunicorn:students")
    assert await Authorizer(own).may(caller(ann), "list", "experiments", served.home)
    served.bind(served.other, "unicorn-view", "--group=netunicorn:users")
    assert await Authorizer(own).may(caller(ann), "list", "experiments", served.other), "all who log in here"


async def test_an_answer_counts_for_seconds(served, own, monkeypatch):
    from unicorn_gateway.user_api import authorisation

    ann = await served.add()
    authorizer = Authorizer(own)
    assert await authorizer.may(caller(ann), "list", "experiments", served.home)
    served.unbind()
    assert await authorizer.may(caller(ann), "list", "experiments", served.home)
    monkeypatch.setattr(authorisation, "_SECONDS", 0)

    async def refused():
        return not await authorizer.may(caller(ann), "list", "experiments", served.home)

    await eventually(refused, "the binding is gone", 10)  # RBAC itself learns of it a moment later


async def test_the_process_may_do_no_more_than_it_must(served, own):
    await own.list(EXPERIMENTS, served.home)
    await own.list(TARGET_NODES, served.home)
    for forbidden in (
        own.list(SECRETS, served.home),
        own.get(SECRETS, served.home, "any"),
        own.delete(TARGET_NODES, served.home, "any"),
        own.patch_merge(EXPERIMENTS, served.home, "any", {"status": {}}, subresource="status"),
    ):
        with pytest.raises(ApiRefused) as caught:
            await forbidden
        assert caught.value.status == 403
    rules = next(body for body in RULES if body["kind"] == "ClusterRole")["rules"]
    assert "impersonate" not in {verb for rule in rules for verb in rule["verbs"]}
    assert "*" not in {word for rule in rules for words in rule.values() for word in words}


async def test_a_service_account_logs_in_with_its_token(served):
    cluster = served.stack.cluster
    cluster.run("create", "serviceaccount", "robot", "--namespace", served.other)
    token = cluster.run("create", "token", "robot", "--namespace", served.other).strip()
    robot = served.user(token)
    assert (await robot.call(*VERIFY)).status == 200
    for other in (token[:-4] + "AAAA", "x.y.z"):
        assert (await served.user(other).call(*VERIFY)).status == 401
    foreign = cluster.run("create", "token", "robot", "--namespace", served.other, "--audience=elsewhere").strip()
    assert (await served.user(foreign).call(*VERIFY)).status == 401, "a token that is meant for somebody else"
    cluster.run("delete", "serviceaccount", "robot", "--namespace", served.other)

    async def refused():
        return (await robot.call(*VERIFY)).status == 401

    await eventually(refused, "a deleted ServiceAccount is refused", 30)


async def test_who_a_token_of_kubernetes_belongs_to(served, own):
    from unicorn_gateway.user_api.authentication.methods.kubernetes import Kubernetes, KubernetesSettings

    cluster = served.stack.cluster
    cluster.run("create", "serviceaccount", "worker", "--namespace", served.other)
    token = cluster.run("create", "token", "worker", "--namespace", served.other, "--audience=unicorn").strip()
    name = f"system:serviceaccount:{served.other}:worker"
    method = Kubernetes(own, KubernetesSettings(audiences=("unicorn",)))
    found = await method.by_token(token)
    assert (found.name, found.kubernetes_user, found.namespace, found.sudo) == (name, name, served.other, False)
    assert f"system:serviceaccounts:{served.other}" in found.groups
    assert await Kubernetes(own, KubernetesSettings()).by_token(token) is None, "the audience is another"
    assert await Kubernetes(own, KubernetesSettings(audiences=("other",))).by_token(token) is None
    served.bind(served.other, "unicorn-sudo", f"--serviceaccount={served.other}:worker")

    async def has_sudo():
        return (await Kubernetes(own, KubernetesSettings(audiences=("unicorn",))).by_token(token)).sudo

    await eventually(has_sudo, "RBAC gives sudo", 10)


async def test_revocation_counts_on_every_replica(served):
    ann = await served.add()
    second = served.stack.add_user_gateway()
    try:
        elsewhere = type(ann)(ann.http, f"http://127.0.0.1:{second.port}", ann.token)
        assert [(await user.call(*VERIFY)).status for user in (ann, elsewhere)] == [200, 200]
        await users.revoke(served.store, ann.account.name)
        answers = await asyncio.gather(ann.call(*VERIFY), elsewhere.call(*VERIFY))
        assert [answer.status for answer in answers] == [401, 401]
    finally:
        served.stack.stop(second)
        served.stack.user_gateways.remove(second)
