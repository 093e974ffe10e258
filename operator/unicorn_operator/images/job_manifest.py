"""The objects of one build in Kubernetes. Pure.

The least that a build needs: uid 1000, no token, and two capabilities with which it maps its subordinate ids (newuidmap and
newgidmap have them as file capabilities, so escalation is allowed). Nothing of the node is mounted.
"""

import base64
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from unicorn_core.naming import LABEL_BUILD

from unicorn_operator.images.builders import BuildOrder

CONTEXT, WORK, CREDENTIALS = "/context", "/work", "/credentials"
REPORT = "/report"  # not below /dev, which the commands of a build see as well
CONTAINER = "builder"
CA_FILE = "registry-ca.pem"
KEPT_AFTERWARDS = timedelta(hours=1)  # where no operator takes it away
_SAFETY = timedelta(minutes=5)  # the operator ends it at the deadline, and reads its log first
_USER = 1000


@dataclass(frozen=True, slots=True)
class JobTerms:
    """What is the same for all builds."""

    namespace: str
    image: str
    deadline: timedelta
    service_account: str = ""
    memory: str = "2Gi"
    storage: str = "16Gi"
    host_network: bool = False
    authorities: str = ""  # PEM


def objects(order: BuildOrder, terms: JobTerms) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any]]:
    """The ConfigMap with its context, the Secret with its credentials if it has any, and the Job, which comes last."""
    files = dict(order.context) | ({CA_FILE: terms.authorities.encode()} if terms.authorities else {})
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(order, terms),
        "immutable": True,
        "binaryData": {name: base64.b64encode(content).decode() for name, content in sorted(files.items())},
    }
    secret = None
    if order.credentials:
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": _metadata(order, terms),
            "immutable": True,
            "data": {"config.json": base64.b64encode(order.credentials).decode()},
        }
    return config_map, secret, _job(order, terms)


def _job(order: BuildOrder, terms: JobTerms) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(order, terms),
        "spec": {
            "backoffLimit": 0,  # whether it is tried again is decided by how it ended
            "ttlSecondsAfterFinished": int(KEPT_AFTERWARDS.total_seconds()),
            "template": {"metadata": {"labels": _labels(order)}, "spec": _pod(order, terms)},
        },
    }


def _pod(order: BuildOrder, terms: JobTerms) -> dict[str, Any]:
    volumes: list[dict[str, Any]] = [
        {"name": "context", "configMap": {"name": order.name}},
        {"name": "work", "emptyDir": {"sizeLimit": terms.storage}},
        {"name": "tmp", "emptyDir": {"sizeLimit": terms.storage}},
    ]
    mounts: list[dict[str, Any]] = [
        {"name": "context", "mountPath": CONTEXT, "readOnly": True},
        {"name": "work", "mountPath": WORK},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 the pod's own
    ]
    environment = []
    if order.credentials:
        volumes.append({"name": "credentials", "secret": {"secretName": order.name, "defaultMode": 0o440}})
        mounts.append({"name": "credentials", "mountPath": CREDENTIALS, "readOnly": True})
        environment.append({"name": "REGISTRY_AUTH_FILE", "value": f"{CREDENTIALS}/config.json"})
    if terms.authorities:
        environment.append({"name": "SSL_CERT_FILE", "value": f"{CONTEXT}/{CA_FILE}"})
    environment.append({"name": "UNICORN_BUILD_RESULT", "value": REPORT})
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 10,
        "activeDeadlineSeconds": int((terms.deadline + _SAFETY).total_seconds()),  # the pod's: its log and report outlive it
        "affinity": _near(order.platform),
        "securityContext": {"runAsUser": _USER, "runAsGroup": _USER, "fsGroup": _USER, "runAsNonRoot": True},
        "containers": [
            {
                "name": CONTAINER,
                "image": terms.image,
                "args": [CONTEXT, WORK],
                "env": environment,
                "terminationMessagePath": REPORT,
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": terms.memory}},
                "securityContext": {
                    "allowPrivilegeEscalation": True,
                    "capabilities": {"drop": ["ALL"], "add": ["SETUID", "SETGID"]},
                },
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
    }
    if terms.service_account:
        pod["serviceAccountName"] = terms.service_account
    if terms.host_network:
        pod |= {"hostNetwork": True, "dnsPolicy": "Default"}
    return pod


def _near(platform: str) -> dict[str, Any]:
    """On a node of that architecture if there is one; else any will do that can emulate it, or need not."""
    architecture = platform.split("/")[1]
    term = {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": [architecture]}]}
    return {
        "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": term}]},
    }


def _metadata(order: BuildOrder, terms: JobTerms) -> dict[str, Any]:
    return {"name": order.name, "namespace": terms.namespace, "labels": _labels(order)}


def _labels(order: BuildOrder) -> dict[str, str]:
    return {LABEL_BUILD: order.name, "app.kubernetes.io/managed-by": "netunicorn-operator"}
