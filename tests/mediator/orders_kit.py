"""What a client sends, as Python values."""

import base64
import json
from typing import Any

NODE = {"name": "n1", "properties": {"connector": "lab"}, "additional_properties": {}, "architecture": "linux/amd64"}
RUNTIME = {"ports_mapping": {}, "environment_variables": {}, "additional_arguments": [], "network": None}
SHELL = {"commands": [], "runtime_context": RUNTIME}
BUILD = {"python_version": "3.11.7", "cloudpickle_version": "3.1.0"}
DOCKER = {**SHELL, "image": None, "build_context": BUILD}


def graph(content: bytes = b"pickle") -> str:
    return base64.b64encode(content).decode()


def deployment(**changes: Any) -> dict[str, Any]:
    docker = "image" in changes.get("environment_definition", {})
    return {
        "node": NODE,
        "prepared": False,
        "executor_id": "",
        "error": None,
        "execution_graph": graph(),
        "keep_alive_timeout_minutes": 10,
        "cleanup": True,
        "environment_definition": SHELL,
        "environment_definition_type": "DockerImage" if docker else "ShellExecution",
        **changes,
    }


def with_runtime(**changes: Any) -> dict[str, Any]:
    return {**SHELL, "runtime_context": {**RUNTIME, **changes}}


def body(*deployments: dict[str, Any], context: Any = None) -> bytes:
    return json.dumps({"deployment_map": list(deployments), "deployment_context": context}).encode()


def on(name: str, connector: str = "lab", **properties: Any) -> dict[str, Any]:
    return {**NODE, "name": name, "properties": {"connector": connector, **properties}}
