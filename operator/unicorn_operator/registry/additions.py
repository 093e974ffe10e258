"""An image with one more layer: its configuration and its manifest, made from those that a registry has."""

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unicorn_operator.registry.manifests import OCI_LAYER, OCI_MANIFEST, Nonsense, digest_of


@dataclass(frozen=True, slots=True)
class Addition:
    """What is laid over an image, and how the image starts that comes of it, when nothing else is said: as root."""

    archive: bytes = field(repr=False)  # a tar
    title: str  # in the image's history
    entrypoint: Sequence[str]
    blob: bytes = field(init=False, repr=False)  # the same as it lies in a registry
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "blob", gzip.compress(self.archive, mtime=0))
        object.__setattr__(self, "digest", digest_of(self.blob))

    def over(self, manifest: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[bytes, bytes]:
        """Manifest and configuration with it: the same ones make the same bytes. Raises Nonsense for what is no OCI image."""
        layers, layout, history = manifest.get("layers"), config.get("rootfs"), config.get("history") or []
        start = config.get("config") or {}
        if not isinstance(layers, list) or not isinstance(layout, dict) or not isinstance(layout.get("diff_ids"), list):
            raise Nonsense("is no OCI image: it lacks its layers")
        if not isinstance(history, list) or not isinstance(start, dict):
            raise Nonsense("is no OCI image: its history is no list, or its config no object")
        start = {key: value for key, value in start.items() if key != "Cmd"}
        added = {"created_by": self.title, **({"created": config["created"]} if "created" in config else {})}
        made = _written(
            {
                **config,
                "config": {**start, "Entrypoint": list(self.entrypoint), "User": "0:0"},
                "rootfs": {**layout, "diff_ids": [*layout["diff_ids"], digest_of(self.archive)]},
                "history": [*history, added],
            }
        )
        layer = {"mediaType": OCI_LAYER, "digest": self.digest, "size": len(self.blob)}
        about = {**manifest.get("config", {}), "digest": digest_of(made), "size": len(made)}
        return _written({**manifest, "mediaType": OCI_MANIFEST, "config": about, "layers": [*layers, layer]}), made


def _written(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
