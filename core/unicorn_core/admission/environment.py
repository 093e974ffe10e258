"""Rules for an Environment, and for one inside of an Experiment."""

import re

from unicorn_core.admission.build import check_build
from unicorn_core.admission.shapes import exactly_one, used_once
from unicorn_core.errors import Problem
from unicorn_core.resources.environment import EnvironmentSpec, ResourcesSpec, RuntimeSpec

_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*(?::[\w][\w.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][0-9]{1,2})?")
OURS = ("UNICORN_GATEWAY", "UNICORN_TOKEN", "UNICORN_TOKEN_FILE", "UNICORN_CA_FILE", "UNICORN_SPOOL", "UNICORN_WORKDIR")


def check_environment(spec: EnvironmentSpec, at: str = "spec") -> list[Problem]:
    """`at`: where the environment stands in the manifest."""
    problems = exactly_one(spec, at, "image", "build", "shell")
    if spec.image is not None:
        problems += _image(spec.image.ref, f"{at}.image.ref")
    if spec.build is not None:
        if spec.build.base is not None:
            problems += _image(spec.build.base, f"{at}.build.base")
        problems += check_build(spec.build, f"{at}.build")
    return problems + _runtime(spec.runtime, f"{at}.runtime")


def _image(ref: str, path: str) -> list[Problem]:
    if _IMAGE.fullmatch(ref):
        return []
    return [Problem(path, "is not the name of an image", "write for example ghcr.io/lab/tool:1 (lower case, no spaces)", ref)]


def _runtime(runtime: RuntimeSpec, at: str) -> list[Problem]:
    problems = used_once(((f"{at}.env[{i}].name", variable.name) for i, variable in enumerate(runtime.env)), "name")
    for index, variable in enumerate(runtime.env):
        problems += exactly_one(variable, f"{at}.env[{index}]", "value", "value_from")
        if variable.name in OURS:
            problems.append(Problem(f"{at}.env[{index}].name", "is set by the operator", "remove it", variable.name))
    ports = ((f"{at}.ports[{i}]", f"{port.container_port}/{port.protocol}") for i, port in enumerate(runtime.ports))
    return problems + used_once(ports, "port") + _resources(runtime.resources, f"{at}.resources")


def _resources(resources: ResourcesSpec, at: str) -> list[Problem]:
    return [
        Problem(f"{at}.{kind}.{name}", "is not a quantity", "write for example 1, 500m or 128Mi", quantity)
        for kind, quantities in (("requests", resources.requests), ("limits", resources.limits))
        for name, quantity in quantities.items()
        if not _QUANTITY.fullmatch(quantity)
    ]
