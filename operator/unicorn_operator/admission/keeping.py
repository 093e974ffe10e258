"""Where the server's certificate comes from: a directory that somebody else keeps, or a Secret that all replicas share."""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from unicorn_core.errors import Broken, Conflict, NotFound
from unicorn_kube import KubeClient, Object
from unicorn_kube.resource import SECRETS

from unicorn_operator.admission.certificates import Bundle, renewed
from unicorn_operator.admission.settings import AdmissionSettings

_KEYS = ("ca.crt", "ca.key", "tls.crt", "tls.key")
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Served:
    """What TLS serves with, and the authority that the API server is told to trust (empty: somebody else tells it)."""

    certificate: bytes
    key: bytes = field(repr=False)
    ca: bytes = b""


async def current(settings: AdmissionSettings, kube: KubeClient, now: Callable[[], datetime]) -> Served:
    """The certificate to serve with from now on. Raises Broken: try again."""
    if settings.certificate_directory:
        return _from_directory(Path(settings.certificate_directory))
    bundle = await _from_secret(settings, kube, now)
    return Served(bundle.certificate, bundle.key, bundle.ca)


def _from_directory(directory: Path) -> Served:
    authority = directory / "ca.crt"
    try:
        ca = authority.read_bytes() if authority.exists() else b""
        return Served((directory / "tls.crt").read_bytes(), (directory / "tls.key").read_bytes(), ca)
    except OSError as error:
        raise Broken(f"cannot read the webhooks' certificate in {directory}: {error.strerror}") from error


async def _from_secret(settings: AdmissionSettings, kube: KubeClient, now: Callable[[], datetime]) -> Bundle:
    """Made once, renewed in time. Replicas race: the first to write wins, the others read what it wrote."""
    for _ in range(_TRIES):
        try:
            found = await kube.get(SECRETS, settings.namespace, settings.secret)
        except NotFound:
            found = None
        have = _read(found) if found is not None else None
        wanted = renewed(have, settings.names, now())
        if wanted == have:
            return wanted
        try:
            await _write(settings, kube, wanted, found)
        except (Conflict, NotFound):
            continue
        return wanted
    raise Conflict(f"Secret {settings.secret} changes faster than it can be written")


def _read(secret: Object) -> Bundle | None:
    data = secret.get("data") or {}
    try:
        return Bundle(*(base64.b64decode(data[key], validate=True) for key in _KEYS))
    except (KeyError, TypeError, ValueError, binascii.Error):
        return None


async def _write(settings: AdmissionSettings, kube: KubeClient, bundle: Bundle, found: Object | None) -> None:
    parts = (bundle.ca, bundle.ca_key, bundle.certificate, bundle.key)
    data = {key: base64.b64encode(part).decode() for key, part in zip(_KEYS, parts, strict=True)}
    if found is not None:
        version = found["metadata"]["resourceVersion"]
        await kube.patch_merge(
            SECRETS, settings.namespace, settings.secret, {"metadata": {"resourceVersion": version}, "data": data}
        )
        return
    metadata = {"name": settings.secret, "namespace": settings.namespace}
    await kube.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data})
