"""All that decides what an image contains. What is not here cannot cause a build."""

from dataclasses import dataclass

# In every image that is built; below no directory of the base's: some runtimes give one that a layer leaves out another mode.
AGENT_FILE = "/unicorn/executor.pyz"


@dataclass(frozen=True, slots=True)
class FileContent:
    """A file of the image."""

    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class BuildInputs:
    """One platform of a BuildSpec, all references resolved."""

    base: str  # repository@sha256:…, the manifest for this platform; only the digest counts
    platform: str  # linux/amd64 and the like
    agent_sha256: str
    apt: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    files: tuple[FileContent, ...] = ()  # by path, in whatever order they were written
    commands: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.base_digest.startswith("sha256:"):
            raise ValueError(f"the base {self.base} bears no digest")
        object.__setattr__(self, "files", tuple(sorted(self.files, key=lambda file: file.path)))

    @property
    def base_digest(self) -> str:
        return self.base.rpartition("@")[2]
