"""The operator's settings for building environments in a cluster for demo and tests."""

from collections.abc import Mapping

from . import registry
from .cluster import Cluster


def settings(cluster: Cluster, references: Mapping[str, str]) -> dict[str, str]:
    """Builds are Jobs, from demo-base into the cluster's registry. Where there is none, nothing is built or looked up.

    The embedded cluster's pods have no way out, so its Jobs are in the machine's network.
    """
    if cluster.registry is None:
        return {"UNICORN_RESOLVE_IMAGES": "false"}
    made = {"UNICORN_PLAIN_HTTP_REGISTRIES": cluster.registry} if registry.is_plain(cluster.registry) else {}
    if "builder" not in references:
        return made
    made |= {
        "UNICORN_BUILDER": "job",
        "UNICORN_BUILDER_IMAGE": references["builder"],
        "UNICORN_BUILD_REGISTRY": f"{cluster.registry}/environments",
        "UNICORN_DEFAULT_BASE": references["demo-base"],
    }
    if cluster.kind == "embedded":
        made["UNICORN_BUILD_HOST_NETWORK"] = "true"
    return made
