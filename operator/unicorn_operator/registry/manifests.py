"""What registries answer: manifests and indexes. Foreign data: everything is looked at before it is used."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEXES = (OCI_INDEX, DOCKER_LIST)
ACCEPTED = ", ".join((*INDEXES, *MANIFESTS))
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_DEFAULT_VARIANTS = {"amd64": "v1", "arm64": "v8", "arm": "v7"}


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One manifest or index in a registry."""

    media_type: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class PlatformImage:
    """The image of one platform (`linux/arm64`)."""

    platform: str
    manifest: Descriptor


class Nonsense(ValueError):
    """The answer is not what the specification says; one line."""


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def document(content: bytes) -> dict[str, Any]:
    """Raises Nonsense."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Nonsense("is no JSON") from error
    if not isinstance(found, dict):
        raise Nonsense("is no JSON object")
    return found


def media_type(found: Mapping[str, Any], header: str) -> str:
    """What a manifest is: by its own word, else by the header, else by what it holds. Raises Nonsense."""
    guess = OCI_INDEX if "manifests" in found else OCI_MANIFEST if "config" in found else ""
    named = (found.get("mediaType"), header.partition(";")[0].strip(), guess)
    chosen = next((each for each in named if each in (*MANIFESTS, *INDEXES)), None)
    if chosen is None:
        raise Nonsense(f"is no image but {str(found.get('mediaType') or header)[:100]!r}")
    return str(chosen)


def images(index: Mapping[str, Any]) -> tuple[PlatformImage, ...]:
    """Of an index: the first manifest of each platform. Attestations and nested indexes are no images. Raises Nonsense."""
    entries = index.get("manifests")
    if not isinstance(entries, list):
        raise Nonsense("has no list `manifests`")
    found: dict[str, PlatformImage] = {}
    for entry in entries:
        one = descriptor(entry)
        platform = entry.get("platform")
        if one.media_type in MANIFESTS and isinstance(platform, dict) and (named := platform_name(platform)):
            found.setdefault(named, PlatformImage(named, one))
    return tuple(found.values())


def descriptor(entry: Any) -> Descriptor:
    """Raises Nonsense."""
    if not isinstance(entry, dict):
        raise Nonsense("has an entry that is no object")
    digest, size, kind = entry.get("digest"), entry.get("size"), entry.get("mediaType")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise Nonsense("has an entry without a valid digest")
    if not isinstance(size, int) or size < 0:
        raise Nonsense("has an entry without a valid size")
    return Descriptor(str(kind or ""), digest, size)


def is_digest(text: str) -> bool:
    return bool(_DIGEST.fullmatch(text))


def platform_name(platform: Mapping[str, Any]) -> str:
    """`linux/arm64`, `linux/arm/v7`; empty: unknown. The usual variant goes without saying, but for arm."""
    system, architecture, variant = (str(platform.get(key) or "") for key in ("os", "architecture", "variant"))
    if not system or not architecture or "unknown" in (system, architecture):
        return ""
    usual = _DEFAULT_VARIANTS.get(architecture, "")
    if architecture == "arm":
        variant = variant or usual
    elif variant == usual:
        variant = ""
    return "/".join(part for part in (system, architecture, variant) if part)


def index_of(images: Mapping[str, Descriptor]) -> bytes:
    """The OCI index of these images by platform: the same images make the same bytes."""
    entries = []
    for platform, manifest in sorted(images.items()):
        system, architecture, *variant = platform.split("/")
        named = {"os": system, "architecture": architecture, **({"variant": variant[0]} if variant else {})}
        described = {"mediaType": manifest.media_type, "digest": manifest.digest, "size": manifest.size}
        entries.append({**described, "platform": named})
    content = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    return json.dumps(content, separators=(",", ":")).encode()
