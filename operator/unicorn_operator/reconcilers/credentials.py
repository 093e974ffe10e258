"""The Secrets that Connectors name: read, kept from vanishing while they are in use, let go afterwards."""

import base64
import binascii
import hashlib
from datetime import timedelta

from unicorn_core.errors import NotFound, Problem, Refused, Waiting
from unicorn_core.naming import FINALIZER, GROUP
from unicorn_core.reasons import ConnectorReason
from unicorn_core.resources import ConnectorSpec
from unicorn_kube import KubeClient
from unicorn_kube.resource import SECRETS

from unicorn_operator import finalizers
from unicorn_operator.cache import Caches, Object, path
from unicorn_operator.connector_pool import Credentials

LABEL = f"{GROUP}/credentials"  # on each Secret that has our finalizer: they can be listed by it
LOOK_AGAIN = timedelta(seconds=10)


async def read(kube: KubeClient, namespace: str, spec: ConnectorSpec) -> tuple[Credentials | None, bool]:
    """The credentials, and whether their Secret is being deleted. Raises Waiting when there is no such Secret."""
    if spec.credentials_secret_ref is None:
        return None, False
    name = spec.credentials_secret_ref.name
    try:
        secret = await kube.get(SECRETS, namespace, name)
    except NotFound as error:
        message = f"there is no Secret {name} in namespace {namespace}"
        raise Waiting(ConnectorReason.SECRET_NOT_FOUND, message, LOOK_AGAIN) from error
    going = "deletionTimestamp" in secret["metadata"]
    if not going and not finalizers.has(secret):
        secret = await _hold(kube, secret)
    # Labels and finalizers change its resourceVersion, its data does not: a connector is made anew for new data only.
    return Credentials(f"{secret['metadata']['uid']}/{_digest(secret)}", _decoded(secret)), going


async def release(kube: KubeClient, caches: Caches, namespace: str, name: str, by_uid: str = "") -> None:
    """Take our finalizer off a Secret that no Connector names any more; the one of `by_uid` does not count."""
    users = [item for item in caches.connectors.find("secret", path(namespace, name)) if item["metadata"]["uid"] != by_uid]
    if users:
        return
    try:
        secret = await kube.get(SECRETS, namespace, name)
    except NotFound:
        return
    await finalizers.remove(kube, SECRETS, secret)


async def sweep(kube: KubeClient, caches: Caches) -> None:
    """Let go of every Secret that is held for nobody, whatever we missed. Raises Broken."""
    listing = await kube.list(SECRETS, label_selector=LABEL)
    for secret in listing.items:
        metadata = secret["metadata"]
        if finalizers.has(secret) and not caches.connectors.find("secret", path(metadata["namespace"], metadata["name"])):
            await release(kube, caches, metadata["namespace"], metadata["name"])


async def _hold(kube: KubeClient, secret: Object) -> Object:
    metadata = secret["metadata"]
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],  # never makes a Secret that was deleted meanwhile
            "labels": {LABEL: "true"},
            "finalizers": [FINALIZER],
        },
    }
    return await kube.apply(SECRETS, body, "netunicorn-operator")


def _decoded(secret: Object) -> dict[str, bytes]:
    try:
        return {key: base64.b64decode(value, validate=True) for key, value in (secret.get("data") or {}).items()}
    except (binascii.Error, ValueError) as error:
        raise Refused(Problem("spec.credentialsSecretRef", "the Secret's data cannot be read", "base64")) from error


def _digest(secret: Object) -> str:
    """Changes with the data; tells nothing about it."""
    text = "\n".join(f"{key}={value}" for key, value in sorted((secret.get("data") or {}).items()))
    return hashlib.sha256(text.encode()).hexdigest()
