"""A thin asynchronous Kubernetes client for hot paths. It knows the names of our resources, and nothing of their content."""

from unicorn_kube.client import KubeClient, Listing, Object
from unicorn_kube.config import KubeConfig
from unicorn_kube.resource import Resource

__all__ = ["KubeClient", "KubeConfig", "Listing", "Object", "Resource"]
