"""netunicorn's environments as ours, and back."""

import pytest
from orders_kit import BUILD, DOCKER, SHELL, with_runtime
from unicorn_core.admission import check_environment
from unicorn_core.resources import EnvironmentSpec, load
from unicorn_gateway.problems import ProblemError
from unicorn_gateway.user_api.mediator.environments import environment_spec, shown_environment, with_identity
from unicorn_gateway.user_api.mediator.messages import Environment

BASE = "python:{version}-slim"
APT = ["iproute2", "iputils-ping", "net-tools", "procps", "sudo"]


def _build(python: str = "3.11", cloudpickle: str = "cloudpickle==3.1.0", platforms=("linux/amd64",), commands=()) -> dict:
    pip = ["netunicorn-base", "netunicorn-library", cloudpickle]
    return {"base": f"python:{python}-slim", "platforms": list(platforms), "apt": APT, "pip": pip, "commands": list(commands)}


SPECS = [
    (
        "ShellExecution",
        {**SHELL, "commands": ["pip install x"]},
        [],
        {"agent": "Native", "shell": {"commands": ["pip install x"]}},
    ),
    ("DockerImage", {**DOCKER, "image": "lab/tool:1"}, [], {"agent": "Netunicorn", "image": {"ref": "lab/tool:1"}}),
    ("DockerImage", DOCKER, ["linux/amd64"], {"agent": "Native", "build": _build()}),
    (
        "DockerImage",
        {**DOCKER, "commands": ["sudo apt-get install -y jq", " "]},
        ["linux/arm64", "linux/amd64", "unknown"],
        {"agent": "Native", "build": _build(platforms=("linux/amd64", "linux/arm64"), commands=["sudo apt-get install -y jq"])},
    ),
    (
        "DockerImage",
        {**DOCKER, "build_context": {"python_version": "3.13.0rc1", "cloudpickle_version": None}},
        ["unknown"],
        {"agent": "Native", "build": _build("3.13", "cloudpickle")},
    ),
]


@pytest.mark.parametrize(("kind", "sent", "architectures", "expected"), SPECS)
def test_specs(kind, sent, architectures, expected) -> None:
    spec = environment_spec(kind, Environment.model_validate(sent), architectures, BASE)
    assert spec == {"runtime": {}, **expected}
    assert check_environment(load(EnvironmentSpec, spec)) == [], "admission takes it"


def test_the_runtime() -> None:
    sent = with_runtime(
        environment_variables={"A": "1", "NETUNICORN_EXECUTOR_ID": "x", "NETUNICORN_GATEWAY_ENDPOINT": "http://evil"},
        ports_mapping={"80": 8080},
        network="lab",
        additional_arguments=["-v", "/a:/b"],
    )
    runtime = environment_spec("ShellExecution", Environment.model_validate(sent), [], BASE)["runtime"]
    assert runtime == {
        "env": [{"name": "A", "value": "1"}],
        "ports": [
            {"containerPort": 80, "hostPort": 8080, "protocol": "TCP"},
            {"containerPort": 80, "hostPort": 8080, "protocol": "UDP"},
        ],
        "network": "lab",
        "additionalArguments": ["-v", "/a:/b"],
    }


@pytest.mark.parametrize(
    "context",
    [
        {"python_version": "3.11; reboot", "cloudpickle_version": "3.1.0"},
        {"python_version": "latest", "cloudpickle_version": "3.1.0"},
        {"python_version": "3.11.7", "cloudpickle_version": "3.1.0 --index-url http://evil"},
        {"python_version": "3.11.7", "cloudpickle_version": "-r/etc/passwd"},
        {"python_version": "3.11.7\n", "cloudpickle_version": None},
    ],
)
def test_versions_are_versions(context) -> None:
    with pytest.raises(ProblemError, match="in build context must be like"):
        environment_spec("DockerImage", Environment.model_validate({**DOCKER, "build_context": context}), [], BASE)


def test_ids_stand_where_the_user_reads_them_back() -> None:
    sent = with_runtime(environment_variables={"A": "1", "NETUNICORN_EXECUTOR_ID": "mine"})
    shown = with_identity(sent, "executor", "experiment")["runtime_context"]["environment_variables"]
    assert shown == {"A": "1", "NETUNICORN_EXECUTOR_ID": "executor", "NETUNICORN_EXPERIMENT_ID": "experiment"}
    assert sent["runtime_context"]["environment_variables"]["NETUNICORN_EXECUTOR_ID"] == "mine", "what was given is not changed"


SHOWN = [
    (None, "ShellExecution", {"commands": []}),
    ({"shell": {"commands": ["x"]}}, "ShellExecution", {"commands": ["x"]}),
    ({"image": {"ref": "a:1"}}, "DockerImage", {"commands": [], "image": "a:1"}),
    ({"build": {"base": "b", "commands": ["y"]}}, "DockerImage", {"commands": ["y"], "image": None}),
]


@pytest.mark.parametrize(("spec", "kind", "definition"), SHOWN)
def test_ours_as_the_client_can_read_them(spec, kind, definition) -> None:
    found_kind, found = shown_environment(spec)
    assert found_kind == kind
    assert {key: found[key] for key in definition} == definition
    Environment.model_validate(found)
    assert BUILD.keys() == found.get("build_context", BUILD).keys()
