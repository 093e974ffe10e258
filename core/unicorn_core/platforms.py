"""How the platform of a node or image is called, and nothing else: `linux/amd64`, `linux/arm64`, `linux/arm/v7`."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm/v7", "armv6l": "arm/v6", "arm": "arm/v7"}
_USUAL = ("amd64/v1", "arm64/v8")  # go without saying


def platform_name(architecture: str, system: str = "linux") -> str:
    """Of an architecture as kernels, Kubernetes or registries call it. An arm without a variant is v7, as everywhere."""
    if architecture in _USUAL:
        architecture = architecture.partition("/")[0]
    return f"{system}/{_ARCHITECTURES.get(architecture, architecture)}"


def same_platform(name: str) -> str:
    """The one name of a platform that somebody may have called otherwise (`linux/arm`)."""
    system, slash, architecture = name.partition("/")
    return platform_name(architecture, system) if slash else name
