"""Executors as pods, in the operator's own cluster or in another one: a pod and a Secret for each.

manifest.py says what is made, sightings.py what is read from it, pods.py keeps the pods in view, connector.py has the verbs.
"""

from unicorn_connectors.kubernetes.config import KubernetesConfig
from unicorn_connectors.kubernetes.connector import TYPE, KubernetesConnector

__all__ = ["TYPE", "KubernetesConfig", "KubernetesConnector"]
