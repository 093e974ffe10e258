"""What a client orders: read, checked, kept."""

import json

import pytest
from orders_kit import BUILD, DOCKER, NODE, SHELL, body, deployment, graph, with_runtime
from unicorn_gateway.problems import ProblemError
from unicorn_gateway.user_api.mediator import orders
from unicorn_gateway.user_api.mediator.orders import Place

UNREADABLE = [
    (b"", "not JSON"),
    (b"[]", "should be an object"),
    (b"{}", "deployment_map: Field required"),
    (body({}), "deployment_map.0.node: Field required"),
    (body(deployment(execution_graph="!!!!")), "deployment_map.0.execution_graph: not base64"),
    (body(deployment(execution_graph="")), "at least 4 characters"),
    (body(deployment(node={**NODE, "architecture": "vax"})), "'linux/amd64', 'linux/arm64'"),
    (body(deployment(node={**NODE, "name": ""})), "node.name"),
    (body(deployment(environment_definition_type="VirtualMachine")), "'DockerImage' or 'ShellExecution'"),
    (body(deployment(keep_alive_timeout_minutes=0)), "greater than 0"),
    (body(deployment(environment_definition={"commands": []})), "runtime_context: Field required"),
    (body(deployment(environment_definition=with_runtime(environment_variables={"A": 1}))), "valid string"),
    (body(context={"docker": "x"}), "deployment_context.docker"),
    (body(deployment(node={**NODE, "properties": {"x": float("inf")}})), "not JSON (NaN, Infinity"),
    (b'{"deployment_map": [' + b"[" * 100_000, "not JSON"),
]


@pytest.mark.parametrize(("sent", "said"), UNREADABLE, ids=[row[-1] for row in UNREADABLE])
def test_what_is_no_experiment(sent: bytes, said: str) -> None:
    with pytest.raises(ProblemError) as problem:
        orders.read(sent)
    assert problem.value.status == 400
    assert said in problem.value.detail


REFUSED = [
    ([deployment(executor_id="x"), deployment(executor_id="x")], "non-unique non-empty executor id: x"),
    ([deployment(environment_definition=with_runtime(additional_arguments=["-v"]))], "not allowed to use additional arguments"),
    ([deployment(environment_definition=with_runtime(environment_variables={"A": "x; reboot"}))], "must not contain spaces"),
    ([deployment(environment_definition=with_runtime(environment_variables={"A B": "x"}))], "must not contain spaces"),
    ([deployment(environment_definition=with_runtime(environment_variables={"A": "x\ty"}))], "must not contain spaces"),
    ([deployment(environment_definition=with_runtime(environment_variables={"A": "x\ny"}))], "must not contain spaces"),
    ([deployment(environment_definition=with_runtime(environment_variables={"A": "\u200b"}))], "must not contain spaces"),
    ([deployment(environment_definition=with_runtime(network="host -v /:/x"))], "Network in runtime context must not"),
    ([deployment(environment_definition=with_runtime(ports_mapping={"80": "x"}))], "must be a dict of int to int"),
    ([deployment(environment_definition=with_runtime(ports_mapping={"-1": 80}))], "must be a dict of int to int"),
    ([deployment(environment_definition=with_runtime(ports_mapping={"80": 65536}))], "must be a dict of int to int"),
    ([deployment(environment_definition=with_runtime(ports_mapping={"80": float("inf")}))], "must be a dict of int to int"),
    ([deployment(environment_definition=with_runtime(ports_mapping={"80": float("nan")}))], "must be a dict of int to int"),
    ([deployment(environment_definition=with_runtime(ports_mapping={"80": 80.5}))], "must be a dict of int to int"),
    ([deployment(environment_definition={**SHELL, "image": None})], "needs a build_context"),
]


@pytest.mark.parametrize(("sent", "said"), REFUSED, ids=[row[-1] for row in REFUSED])
def test_what_is_refused(sent: list, said: str) -> None:
    with pytest.raises(ProblemError) as problem:
        orders.check(orders.read(body(*sent)), sudo=False)
    assert problem.value.status == 400
    assert said in problem.value.detail


ALLOWED = [
    ([deployment(), deployment()], False, "empty executor ids"),
    ([deployment(executor_id="x")], False, "one given id: it is replaced"),
    ([deployment(environment_definition=with_runtime(additional_arguments=["-v", "/a:/b"]))], True, "a sudo user's arguments"),
    ([deployment(environment_definition=with_runtime(environment_variables={"A": "$(x);|&'\""}))], False, "no spaces, no shell"),
    ([deployment(environment_definition=with_runtime(ports_mapping={"80": 8080}, network="lab_net"))], False, "ports, network"),
    ([], False, "nothing at all"),
]


@pytest.mark.parametrize(("sent", "sudo", "because"), ALLOWED, ids=[row[-1] for row in ALLOWED])
def test_what_is_allowed(sent: list, sudo: bool, because: str) -> None:
    orders.check(orders.read(body(*sent)), sudo=sudo)


def test_what_was_ordered_is_kept_as_it_was_sent() -> None:
    variables = {"NETUNICORN_EXECUTOR_ID": "mine", "A": "1"}
    docker = {**DOCKER, "commands": ["sudo apt-get install -y x"], "runtime_context": with_runtime()["runtime_context"]}
    sent = body(
        deployment(environment_definition=with_runtime(environment_variables=variables)),
        deployment(environment_definition=docker, cleanup=False, keep_alive_timeout_minutes=1.5, execution_graph=graph(b"two")),
        deployment(environment_definition=docker),
        context={"lab": {"key": "value"}},
    )
    ordered = orders.read(sent)
    assert [order.graph for order in ordered.orders] == [b"pickle", b"two", b"pickle"]
    assert [order.environment for order in ordered.orders] == [0, 1, 1], "an environment is kept once"
    document = orders.keep(ordered, ["1", "2", "1"], [Place("d1", 0), Place("d2", 0), "refused"])
    found = orders.kept(json.loads(json.dumps(document)))
    assert [(one.place, one.refusal) for one in found.orders] == [(Place("d1", 0), ""), (Place("d2", 0), ""), (None, "refused")]
    assert [(one.graph, one.keep_alive_minutes, one.cleanup) for one in found.orders] == [
        ("1", 10, True), ("2", 1.5, False), ("1", 10, True)
    ]  # fmt: skip
    assert found.orders[0].node == NODE
    assert found.environments[1] == ("DockerImage", {**docker, "build_context": BUILD})
    shown = found.environments[0][1]["runtime_context"]["environment_variables"]
    assert shown == {"A": "1"}, "whatever the user wrote, these are the server's to give"
    assert found.context == {"lab": {"key": "value"}}


def test_characters_that_nobody_can_store_are_replaced() -> None:
    ordered = orders.read(body(deployment(node={**NODE, "properties": {"x": "a\x00b"}})))
    assert ordered.orders[0].node.properties == {"x": "a\ufffdb"}
