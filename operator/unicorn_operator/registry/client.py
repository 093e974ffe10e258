"""The calls: find, images, manifest, resolve, put_index, extend, delete. Of any registry by the OCI distribution's rules."""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, NoReturn, Self

from unicorn_core.errors import Problem, Refused, Waiting
from unicorn_core.reasons import EnvironmentReason
from unicorn_core.text import plain

from unicorn_operator.registry import manifests
from unicorn_operator.registry.additions import Addition
from unicorn_operator.registry.credentials import Credentials
from unicorn_operator.registry.manifests import Descriptor, Nonsense, PlatformImage
from unicorn_operator.registry.reference import Reference
from unicorn_operator.registry.transport import Answer, Transport

_ANONYMOUS = Credentials()
_ACCEPT = {"Accept": manifests.ACCEPTED}


class Registries:
    """All registries; an asynchronous context. Every call raises, and nothing else:

    - Waiting `RegistryUnreachable` (no connection, no trust, no sense in the answer, 5xx) or `RegistryBusy` (429);
    - Refused `RegistryUnauthorized` (401, 403) or `RegistryRefused` (any other 4xx), and further reasons where that is said.

    `field` is the path in Refused: where the person wrote the reference.
    """

    def __init__(self, plain_http: Iterable[str] = (), ca_file: str = "") -> None:
        """`plain_http`: HOST[:PORT] of those that are spoken to without TLS. `ca_file`: PEM, trusted beside the system's.

        Raises Refused for a file that cannot be used.
        """
        self._transport = Transport(frozenset(host.lower() for host in plain_http), ca_file)

    async def __aenter__(self) -> Self:
        await self._transport.open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._transport.close()

    async def find(self, reference: Reference, credentials: Credentials = _ANONYMOUS, field: str = "image") -> Descriptor | None:
        """What is under this tag or digest; None when nothing is. Costs one HEAD."""
        answer = await self._manifest("HEAD", reference, credentials, field)
        if answer.status == 404:
            return None
        digest, size = answer.headers.get("Docker-Content-Digest", ""), answer.headers.get("Content-Length", "")
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        if manifests.is_digest(digest) and size.isdecimal() and kind in (*manifests.MANIFESTS, *manifests.INDEXES):
            return Descriptor(kind, digest, int(size))
        try:
            return (await self._read(reference, credentials, field))[0]
        except Refused as error:
            if error.reason == EnvironmentReason.IMAGE_NOT_FOUND:  # gone between the two
                return None
            raise

    async def images(
        self, reference: Reference, credentials: Credentials = _ANONYMOUS, field: str = "image"
    ) -> tuple[PlatformImage, ...]:
        """An image for each platform that the reference has one for. Refused also with `ImageNotFound`."""
        one, content = await self._read(reference, credentials, field)
        try:
            if one.media_type in manifests.INDEXES:
                return manifests.images(manifests.document(content))
            platform = manifests.platform_name(await self._config(reference, manifests.document(content), credentials, field))
        except Nonsense as error:
            _nonsense(reference, error)
        return (PlatformImage(platform, one),) if platform else ()

    async def manifest(self, reference: Reference, credentials: Credentials = _ANONYMOUS, field: str = "image") -> Descriptor:
        """The manifest with the reference's digest, once it was had: read and compared. Refused also with `ImageNotFound`."""
        found, _ = await self._read(reference, credentials, field)
        return found

    async def resolve(
        self, reference: Reference, platform: str, credentials: Credentials = _ANONYMOUS, field: str = "image"
    ) -> Descriptor:
        """The manifest for this platform (`linux/arm64`). Refused also with `ImageNotFound` or `PlatformMissing`."""
        found = {image.platform: image.manifest for image in await self.images(reference, credentials, field)}
        if platform not in found:
            there = ", ".join(sorted(found)) or "of no known platform"
            raise Refused(
                Problem(field, f"{reference} has no image for {plain(platform, 64)}; it is {plain(there, 512)}"),
                EnvironmentReason.PLATFORM_MISSING,
            )
        return found[platform]

    async def put_index(
        self,
        reference: Reference,
        images: Mapping[str, Descriptor],
        credentials: Credentials = _ANONYMOUS,
        field: str = "image",
    ) -> Descriptor:
        """Push an index of these manifests (by platform; in the same repository) under the reference's tag.

        The same images make the same digest. Refused also with `ImageNotFound`, for a manifest that the registry does not have.
        """
        return await self._put(reference, manifests.OCI_INDEX, manifests.index_of(images), credentials, field)

    async def extend(
        self,
        reference: Reference,
        addition: Addition,
        tag: str,
        credentials: Credentials = _ANONYMOUS,
        field: str = "image",
    ) -> Descriptor | None:
        """Push the reference's image with one more layer under this tag, beside it; None when there is no such image.

        The same image and addition make the same digest, so this may be repeated.
        """
        try:
            one, content = await self._read(reference, credentials, field)
        except Refused as error:
            if error.reason == EnvironmentReason.IMAGE_NOT_FOUND:
                return None
            raise
        try:
            if one.media_type != manifests.OCI_MANIFEST:
                raise Nonsense(f"is no OCI image but {one.media_type}")
            document = manifests.document(content)
            manifest, config = addition.over(document, await self._config(reference, document, credentials, field))
        except Nonsense as error:
            _nonsense(reference, error)
        if (await self._transport.send("HEAD", reference, f"blobs/{addition.digest}", credentials, field)).status == 404:
            await self._transport.upload(reference, addition.digest, addition.blob, credentials, field)
        await self._transport.upload(reference, manifests.digest_of(config), config, credentials, field)
        return await self._put(reference.tagged(tag), manifests.OCI_MANIFEST, manifest, credentials, field)

    async def delete(self, reference: Reference, credentials: Credentials = _ANONYMOUS, field: str = "image") -> bool:
        """Delete the manifest or index at the reference's digest, with every tag on it; whether it was there.

        Its layers go when the registry's own garbage collection runs. A registry that deletes nothing is `RegistryRefused`.
        """
        if not reference.digest:
            raise ValueError("a manifest is deleted by its digest: a tag may be somebody else's by now")
        path = f"manifests/{reference.digest}"
        return (await self._transport.send("DELETE", reference, path, credentials, field)).status != 404

    async def _put(self, reference: Reference, kind: str, content: bytes, credentials: Credentials, field: str) -> Descriptor:
        """A manifest or an index, under the reference's tag."""
        path, headers = f"manifests/{reference.tag}", {"Content-Type": kind}
        answer = await self._transport.send("PUT", reference, path, credentials, field, headers, content, refusals=(400, 404))
        if answer.status in (400, 404):
            message = f"the registry does not take {reference}: {answer.said}"
            unknown = "MANIFEST_BLOB_UNKNOWN" in answer.codes or "MANIFEST_UNKNOWN" in answer.codes or answer.status == 404
            reason = EnvironmentReason.IMAGE_NOT_FOUND if unknown else EnvironmentReason.REGISTRY_REFUSED
            raise Refused(Problem(field, message), reason)
        return Descriptor(kind, manifests.digest_of(content), len(content))

    async def _config(
        self, reference: Reference, manifest: Mapping[str, Any], credentials: Credentials, field: str
    ) -> dict[str, Any]:
        """Raises Nonsense."""
        digest = manifests.descriptor(manifest.get("config")).digest
        answer = await self._transport.send("GET", reference, f"blobs/{digest}", credentials, field)
        if answer.status == 404:
            raise Nonsense(f"lacks its config {digest}")
        _check_digest(answer.content, digest)
        return manifests.document(answer.content)

    async def _read(self, reference: Reference, credentials: Credentials, field: str) -> tuple[Descriptor, bytes]:
        answer = await self._manifest("GET", reference, credentials, field)
        if answer.status == 404:
            raise Refused(Problem(field, f"{reference.registry} has no {reference}"), EnvironmentReason.IMAGE_NOT_FOUND)
        try:
            said = answer.headers.get("Docker-Content-Digest", "")
            for digest in (reference.digest, said):
                if manifests.is_digest(digest):
                    _check_digest(answer.content, digest)
            kind = manifests.media_type(manifests.document(answer.content), answer.headers.get("Content-Type", ""))
        except Nonsense as error:
            _nonsense(reference, error)
        return Descriptor(kind, reference.digest or manifests.digest_of(answer.content), len(answer.content)), answer.content

    async def _manifest(self, method: str, reference: Reference, credentials: Credentials, field: str) -> Answer:
        path = f"manifests/{reference.version}"
        return await self._transport.send(method, reference, path, credentials, field, _ACCEPT)


def _check_digest(content: bytes, digest: str) -> None:
    """Raises Nonsense."""
    if (found := manifests.digest_of(content, digest.partition(":")[0])) != digest:
        raise Nonsense(f"has the digest {found}, not {digest}")


def _nonsense(reference: Reference, error: Nonsense) -> NoReturn:
    message = f"what {reference.registry} answers for {reference} {error}"
    raise Waiting(EnvironmentReason.REGISTRY_UNREACHABLE, plain(message)) from error
