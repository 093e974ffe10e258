"""From a BuildSpec to what decides its images: the base's digests, the files' contents, the agent. And to rows and back."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unicorn_core.errors import NotFound, Problem, Refused, Waiting
from unicorn_core.images import BuildInputs, FileContent, steps
from unicorn_core.reasons import EnvironmentReason
from unicorn_core.resources import BuildSpec
from unicorn_kube import KubeClient
from unicorn_kube.resource import CONFIG_MAPS

from unicorn_operator.images.resolving import Resolver

FILES_LIMIT = 512 * 1024  # bytes of all files of a build: they travel in one object


@dataclass(frozen=True, slots=True)
class InputReader:
    kube: KubeClient
    resolver: Resolver
    default_base: str
    agent_sha256: str

    async def read(self, build: BuildSpec, namespace: str) -> dict[str, BuildInputs]:
        """Platform -> all that decides its image. Raises Waiting (the registry, a ConfigMap), Refused, Broken."""
        base = build.base or self.default_base
        if not base:
            raise Refused(Problem("spec.build.base", "is missing, and the operator has no UNICORN_DEFAULT_BASE", "name an image"))
        secret = build.pull_secret_ref.name if build.pull_secret_ref else ""
        # The operator's own choice of a base is for everybody; any other is for those who may pull it.
        platforms = [str(platform) for platform in build.platforms] if build.base else []
        resolved = await self.resolver.resolve(base, namespace if build.base else "", secret, "spec.build.base", platforms)
        files = await self._files(build, namespace)
        return {
            str(platform): BuildInputs(
                base=resolved.of(platform, "spec.build.base"),
                platform=str(platform),
                agent_sha256=self.agent_sha256,
                apt=build.apt,
                pip=build.pip,
                files=files,
                commands=build.commands,
            )
            for platform in build.platforms
        }

    async def _files(self, build: BuildSpec, namespace: str) -> tuple[FileContent, ...]:
        maps: dict[str, Mapping[str, Any]] = {}
        found: list[FileContent] = []
        for index, file in enumerate(build.files):
            at, source = f"spec.build.files[{index}].configMapKeyRef", file.config_map_key_ref
            if source.name not in maps:
                try:
                    maps[source.name] = await self.kube.get(CONFIG_MAPS, namespace, source.name)
                except NotFound as error:
                    message = f"{at}: there is no ConfigMap {source.name} in namespace {namespace}"
                    raise Waiting(EnvironmentReason.REFERENCE_NOT_FOUND, message) from error
            content = _value(maps[source.name], source.key)
            if content is None:
                message = f"{at}: ConfigMap {namespace}/{source.name} has no key {source.key}"
                raise Waiting(EnvironmentReason.REFERENCE_NOT_FOUND, message)
            found.append(FileContent(file.path, content))
        if (size := sum(len(file.content) for file in found)) > FILES_LIMIT:
            raise Refused(Problem("spec.build.files", f"are {size} bytes together", f"at most {FILES_LIMIT}"))
        return tuple(found)


def _value(config_map: Mapping[str, Any], key: str) -> bytes | None:
    if key in (config_map.get("data") or {}):
        text: str = config_map["data"][key]
        return text.encode()
    if key in (config_map.get("binaryData") or {}):
        try:
            return base64.b64decode(config_map["binaryData"][key], validate=True)
        except binascii.Error:
            return None
    return None


def document_of(inputs: BuildInputs) -> dict[str, Any]:
    """As a row keeps them."""
    return {
        "base": inputs.base,
        "platform": inputs.platform,
        "agentSha256": inputs.agent_sha256,
        "apt": list(inputs.apt),
        "pip": list(inputs.pip),
        "files": [{"path": file.path, "content": base64.b64encode(file.content).decode()} for file in inputs.files],
        "commands": list(inputs.commands),
        "layers": [step.layer for step in steps(inputs)],  # follows from the rest; for who decides what runs beside what
    }


def inputs_of(document: Mapping[str, Any]) -> BuildInputs:
    return BuildInputs(
        base=document["base"],
        platform=document["platform"],
        agent_sha256=document["agentSha256"],
        apt=tuple(document["apt"]),
        pip=tuple(document["pip"]),
        files=tuple(FileContent(file["path"], base64.b64decode(file["content"])) for file in document["files"]),
        commands=tuple(document["commands"]),
    )
