"""What a Connector of type `kubernetes` says."""

from typing import Annotated, Any, Literal

from pydantic import Field
from unicorn_core.resources.base import DNS_LABEL, Model
from unicorn_core.resources.environment import ResourcesSpec

Capability = Annotated[str, Field(pattern=r"^[A-Z][A-Z_]{1,63}$")]


class PodSecurity(Model):
    """What pods may do. By default as little as the level `restricted` of Kubernetes' Pod Security Standards demands."""

    level: Literal["Restricted", "Baseline"] = "Restricted"
    run_as_root: bool = False
    add_capabilities: list[Capability] = Field(default_factory=list)  # NET_RAW for ping and tcpdump; the namespace must permit it


class KubernetesConfig(Model):
    """`namespace`: of the pods in another cluster (default: that of the kubeconfig's context); in the operator's own cluster
    they run in the Experiment's. `agentImage`: brings the agent into a pod by an init container, in place of a ConfigMap."""

    capacity: int = Field(default=100, ge=1)
    namespace: Annotated[str, Field(pattern=DNS_LABEL)] | None = None
    agent_image: str = ""
    resources: ResourcesSpec = ResourcesSpec()
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: list[dict[str, Any]] = Field(default_factory=list)
    pod_security: PodSecurity = PodSecurity()
    properties: dict[str, Any] = Field(default_factory=dict)
