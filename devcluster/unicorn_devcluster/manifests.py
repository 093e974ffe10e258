"""`python -m unicorn_devcluster.manifests apply|delete`: manifests/overlays/embedded into a cluster, with images of this code."""

import argparse
import base64
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from . import building, images, tools
from . import cluster as clusters
from .cluster import Cluster, ClusterError

NAMESPACE = "netunicorn-system"
GATEWAY_PORT = 26512
USER_PORT = 26511
READY_SECONDS = 180
OVERLAY = Path(__file__).resolve().parents[2] / "manifests/overlays/embedded"
_SERVERS = ("operator", "gateway", "postgres")
_OTHERS = ("demo-base", "builder")
_OWNER = "unicorn-operator-database"  # the Secret with its URL
_LOGINS = {"unicorn-executor-gateway-database": "executor_gateway", "unicorn-user-gateway-database": "user_gateway"}
_AGENTS = "app.kubernetes.io/managed-by=netunicorn-operator"  # what the operator made in the namespaces of experiments, and left


def apply(cluster: Cluster, log: tools.Log = print) -> None:
    """Push the images, apply the overlay and wait until all of it is ready. Raises ClusterError, ToolError."""
    references = images.push(cluster, (*_SERVERS, *_OTHERS), log)
    log(f"Installing operator, gateway and PostgreSQL into {NAMESPACE}: usually takes 20 to 40 s.")
    overlay = write_overlay(cluster, references)
    cluster.run("apply", "--server-side", "--force-conflicts", "--kustomize", str(overlay))
    wait(cluster)


def wait(cluster: Cluster) -> None:
    """Until every pod is ready. Raises ToolError."""
    for kind in ("statefulset", "deployment"):
        names = cluster.run("get", kind, "--namespace", NAMESPACE, "--output", "name").split()
        for name in names:
            cluster.run("rollout", "status", name, "--namespace", NAMESPACE, f"--timeout={READY_SECONDS}s")


def delete(cluster: Cluster) -> None:
    """Take all of it away again: first the objects, which the operator lets go, then the rest. Raises ClusterError, ToolError."""
    if cluster.run("get", "crd", "experiments.netunicorn.io", "--ignore-not-found", "--output=name"):
        for kinds in ("experiments", "connectors,targetnodes,environments,pipelines"):
            cluster.run("delete", kinds, "--all", "--all-namespaces", "--timeout=120s")
    cluster.run("delete", "configmaps", f"--selector={_AGENTS}", "--all-namespaces", "--timeout=120s")
    cluster.run("delete", "--kustomize", str(OVERLAY), "--ignore-not-found", "--timeout=120s")


def dsn(cluster: Cluster, address: str) -> str:
    """Of the database's owner, for a PostgreSQL that is reached at HOST:PORT. Raises ToolError."""
    return f"postgresql://unicorn:{_password(cluster, _OWNER)}@{address}/unicorn"


def write_overlay(cluster: Cluster, references: Mapping[str, str]) -> Path:
    """A kustomization on top of the overlay: which images (target -> reference), known only when they have been pushed.

    In a cluster that is not the embedded one, which others may reach, also passwords of its own.
    """
    missing = [target for target in (*_SERVERS, *_OTHERS) if target not in references]
    if missing:
        raise ClusterError(f"the images {', '.join(missing)} have not been pushed to cluster {cluster.name!r}")
    settings = {"UNICORN_DEFAULT_IMAGE": references["demo-base"], **building.settings(cluster, references)}
    directory = cluster.directory / "manifests"
    directory.mkdir(exist_ok=True)
    content: dict[str, Any] = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": NAMESPACE,
        "resources": [os.path.relpath(OVERLAY, directory.resolve())],  # kustomize takes no absolute path
        "images": [_image(target, references[target]) for target in _SERVERS],
        "configMapGenerator": [
            {
                "name": "unicorn-operator-settings",
                "behavior": "merge",
                "literals": [f"{name}={value}" for name, value in settings.items()],
            }
        ],
    }
    if cluster.kind != "embedded":
        content["secretGenerator"] = _secrets(cluster)
    file = directory / "kustomization.yaml"
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return directory


def _secrets(cluster: Cluster) -> list[dict[str, Any]]:
    """The overlay's, with the passwords that the cluster has already, else with new ones."""
    owner = _password(cluster, _OWNER) or secrets.token_hex(24)
    at = "unicorn-postgres:5432/unicorn"
    literals = {"unicorn-postgres": f"password={owner}", _OWNER: f"url=postgresql://unicorn:{owner}@{at}"}
    for name, user in _LOGINS.items():
        password = _password(cluster, name) or secrets.token_hex(24)
        literals[name] = f"url=postgresql://{user}:{password}@{at}"
    options = {"disableNameSuffixHash": True}
    return [{"name": name, "behavior": "merge", "literals": [value], "options": options} for name, value in literals.items()]


def _password(cluster: Cluster, secret: str) -> str | None:
    """Of the URL in this Secret; None where there is none."""
    arguments = ("--namespace", NAMESPACE, "--ignore-not-found", "--output=jsonpath={.data.url}")
    url = base64.b64decode(cluster.run("get", "secret", secret, *arguments)).decode()
    return urlsplit(url).password


def _image(target: str, reference: str) -> dict[str, str]:
    name, at, digest = reference.partition("@")
    if at:
        return {"name": f"netunicorn/{target}", "newName": name, "digest": digest}
    name, _, tag = reference.rpartition(":")
    return {"name": f"netunicorn/{target}", "newName": name, "newTag": tag}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m unicorn_devcluster.manifests", description=__doc__)
    parser.add_argument("action", choices=["apply", "delete"])
    parser.add_argument("--name", default="demo", help="of the cluster (default: demo)")
    options = parser.parse_args(arguments)
    try:
        cluster = clusters.find(options.name)
        if cluster is None:
            raise ClusterError(f"no cluster {options.name!r} is running")
        if options.action == "apply":
            apply(cluster)
        else:
            delete(cluster)
    except (ClusterError, tools.ToolError) as error:
        print(f"unicorn_devcluster.manifests: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
