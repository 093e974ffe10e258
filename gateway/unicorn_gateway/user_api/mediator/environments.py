"""netunicorn's environments as ours, and ours as the client can read them. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from unicorn_core.errors import shorten
from unicorn_core.resources import Agent, Platform

from unicorn_gateway.user_api.mediator import texts
from unicorn_gateway.user_api.mediator.messages import SHELL, Environment, EnvironmentKind
from unicorn_gateway.user_api.mediator.orders import OURS

APT = ("iproute2", "iputils-ping", "net-tools", "procps", "sudo")
PIP = ("netunicorn-base", "netunicorn-library")
_GATEWAY = "NETUNICORN_GATEWAY_ENDPOINT"
_PYTHON = re.compile(r"([0-9]{1,2}\.[0-9]{1,3})([.a-z0-9+-]{0,32})")
_CLOUDPICKLE = re.compile(r"[0-9][A-Za-z0-9.+!-]{0,63}")
_PLATFORMS = frozenset(Platform)
Spec = dict[str, Any]


def environment_spec(kind: EnvironmentKind, environment: Environment, architectures: Iterable[str], base: str) -> Spec:
    """The spec of an Environment. `base`: what images are built on, {version} being the client's Python. Raises ProblemError 400.

    A shell environment and a built image run our agent; an image that exists runs the executor that is in it.
    """
    spec: Spec = {"agent": Agent.NATIVE.value, "runtime": _runtime(environment)}
    commands = [command for command in environment.commands if command.strip()]
    if kind == SHELL:
        spec["shell"] = {"commands": commands}
    elif environment.image is not None:
        spec["image"] = {"ref": environment.image}
        spec["agent"] = Agent.NETUNICORN.value
    else:
        platforms = sorted(set(architectures) & _PLATFORMS) or [Platform.AMD64.value]
        spec["build"] = {
            "base": base.replace("{version}", _python(environment)),
            "platforms": platforms,
            "apt": list(APT),
            "pip": [*PIP, _cloudpickle(environment)],
            "commands": commands,
        }
    return spec


def _runtime(environment: Environment) -> Spec:
    context = environment.runtime_context
    variables = {name: value for name, value in context.environment_variables.items() if name not in (*OURS, _GATEWAY)}
    ports = [(int(inside), int(outside)) for inside, outside in context.ports_mapping.items()]
    runtime: Spec = {
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "ports": [
            {"containerPort": inside, "hostPort": outside, "protocol": protocol}
            for inside, outside in ports
            for protocol in ("TCP", "UDP")
        ],
        "network": context.network or "",
        "additionalArguments": list(context.additional_arguments),
    }
    return {name: value for name, value in runtime.items() if value}


def _python(environment: Environment) -> str:
    written = environment.build_context.python_version if environment.build_context else ""
    match = _PYTHON.fullmatch(written)
    if match is None:
        raise texts.declined(f"Python version {shorten(repr(written), 40)} in build context must be like 3.11.7")
    return match[1]


def _cloudpickle(environment: Environment) -> str:
    written = environment.build_context.cloudpickle_version if environment.build_context else None
    if written is None:
        return "cloudpickle"
    if not _CLOUDPICKLE.fullmatch(written):
        raise texts.declined(f"Cloudpickle version {shorten(repr(written), 40)} in build context must be like 3.1.0")
    return f"cloudpickle=={written}"


def with_identity(definition: Mapping[str, Any], executor: str, experiment: str) -> dict[str, Any]:
    """The definition as it is read back: the ids stand in its environment variables."""
    runtime = definition["runtime_context"]
    identity = dict(zip(OURS, (executor, experiment), strict=True))
    variables = {**runtime["environment_variables"], **identity}
    return {**definition, "runtime_context": {**runtime, "environment_variables": variables}}


def shown_environment(spec: Mapping[str, Any] | None) -> tuple[EnvironmentKind, dict[str, Any]]:
    """An environment that netunicorn's client did not make, as far as its terms go."""
    spec = spec or {}
    runtime = spec.get("runtime") or {}
    definition: dict[str, Any] = {
        "commands": list(((spec.get("shell") or spec.get("build") or {}).get("commands")) or ()),
        "runtime_context": {
            "ports_mapping": {str(one["containerPort"]): one.get("hostPort", 0) for one in runtime.get("ports") or ()},
            "environment_variables": {one["name"]: one.get("value", "") for one in runtime.get("env") or ()},
            "additional_arguments": list(runtime.get("additionalArguments") or ()),
            "network": runtime.get("network") or None,
        },
    }
    if spec.get("shell") is not None or not (spec.get("image") or spec.get("build")):
        return "ShellExecution", definition
    definition["image"] = (spec.get("image") or {}).get("ref")
    definition["build_context"] = {"python_version": "", "cloudpickle_version": None}
    return "DockerImage", definition
