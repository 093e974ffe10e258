"""A thin asynchronous client of OCI registries: what a reference means, which digest it has for a platform, indexes of ours.

It pulls no layers, and pushes none but one small one that is laid over an image; it knows nothing of Environments.
"""

from unicorn_operator.registry.additions import Addition
from unicorn_operator.registry.client import Registries
from unicorn_operator.registry.credentials import Credentials, Login
from unicorn_operator.registry.manifests import Descriptor, PlatformImage
from unicorn_operator.registry.reference import Reference

__all__ = ["Addition", "Credentials", "Descriptor", "Login", "PlatformImage", "Reference", "Registries"]
