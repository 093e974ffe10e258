"""What a build says at its end, as `unicorn_builder` writes it: a pod's termination message, so at most 4 096 bytes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class BuildResult(StrEnum):
    """How it ended."""

    BUILT = "Built"
    COMMAND_FAILED = "CommandFailed"  # a step ended with another exit code than 0: the user's to mend
    PYTHON_MISSING = "PythonMissing"  # the base has no Python and none can be added
    PLATFORM_NOT_BUILDABLE = "PlatformNotBuildable"  # no emulation of this platform here
    BASE_NOT_FOUND = "BaseNotFound"
    REGISTRY_REFUSED = "RegistryRefused"  # it answered, and said no to who pulls the base
    PUSH_REFUSED = "PushRefused"  # the registry of built images did: the operator's people must mend it
    REGISTRY_UNREACHABLE = "RegistryUnreachable"  # worth another try
    STOPPED = "Stopped"  # by SIGTERM: cancelled, or at its deadline
    BROKEN = "Broken"  # the builder itself failed


@dataclass(frozen=True, slots=True)
class BuildReport:
    """Built: the digest of the image's manifest. Else: what failed; `step` is 0 where no step is to blame."""

    result: BuildResult
    digest: str = ""
    cached: int = 0  # the first steps, that had been done before
    message: str = ""
    step: int = 0  # from 1
    title: str = ""  # of the step: commands[0]
    command: str = ""  # its text, shortened if it must
    exit_code: int | None = None
    tail: tuple[str, ...] = ()  # the last 50 lines of the log, fewer if they must fit

    @classmethod
    def from_json(cls, text: str) -> "BuildReport":
        """Raises ValueError on what no builder of ours wrote."""
        try:
            said: Mapping[str, Any] = json.loads(text)
            exit_code = said.get("exitCode")
            return cls(
                BuildResult(said["result"]),
                str(said.get("digest", "")),
                int(said.get("cached", 0)),
                str(said.get("message", "")),
                int(said.get("step", 0)),
                str(said.get("title", "")),
                str(said.get("command", "")),
                None if exit_code is None else int(exit_code),
                tuple(map(str, said.get("tail", ()))),
            )
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ValueError(f"this is no report of a build: {text[:200]!r}") from error
