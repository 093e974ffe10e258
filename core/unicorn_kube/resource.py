"""Which resource of the API is meant: enough to make its paths."""

from dataclasses import dataclass

from unicorn_core.naming import GROUP, VERSION


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource of the API, as `kubectl api-resources` names it. `group` is empty for the core group."""

    group: str
    version: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The path below the server's address. Without a namespace: the collection of all namespaces."""
        parts = ["/api" if not self.group else f"/apis/{self.group}", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part]
        return "/".join(parts)


PODS = Resource("", "v1", "pods")
SECRETS = Resource("", "v1", "secrets")
CONFIG_MAPS = Resource("", "v1", "configmaps")
EVENTS = Resource("", "v1", "events")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts")
RESOURCE_QUOTAS = Resource("", "v1", "resourcequotas")
NODES = Resource("", "v1", "nodes", namespaced=False)
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
JOBS = Resource("batch", "v1", "jobs")
LEASES = Resource("coordination.k8s.io", "v1", "leases")
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
SUBJECT_ACCESS_REVIEWS = Resource("authorization.k8s.io", "v1", "subjectaccessreviews", namespaced=False)
TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", namespaced=False)
VALIDATING_WEBHOOKS = Resource("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", namespaced=False)
MUTATING_WEBHOOKS = Resource("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", namespaced=False)

EXPERIMENTS = Resource(GROUP, VERSION, "experiments")
PIPELINES = Resource(GROUP, VERSION, "pipelines")
ENVIRONMENTS = Resource(GROUP, VERSION, "environments")
CONNECTORS = Resource(GROUP, VERSION, "connectors")
TARGET_NODES = Resource(GROUP, VERSION, "targetnodes")
