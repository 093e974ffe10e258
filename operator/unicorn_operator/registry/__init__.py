"""A thin asynchronous client of OCI registries: what a reference means, which digest it has for a platform, and indexes of ours.

It pulls and pushes no layers (builders and nodes do), keeps no image, and knows nothing of Environments.
"""

from unicorn_operator.registry.client import Registries
from unicorn_operator.registry.credentials import Credentials, Login
from unicorn_operator.registry.manifests import Descriptor, PlatformImage
from unicorn_operator.registry.reference import Reference

__all__ = ["Credentials", "Descriptor", "Login", "PlatformImage", "Reference", "Registries"]
