"""Who makes a request."""

from collections.abc import Mapping
from dataclasses import dataclass

from unicorn_core.access import joined
from unicorn_core.naming import ANNOTATION_TAGS, ANNOTATION_USER


@dataclass(frozen=True, slots=True)
class Caller:
    """`name`: as they call themselves. `kubernetes_user`, `groups`: as RBAC knows them. `namespace`: home, where the mediator
    makes and lists their experiments. `tags`: access tags; none: all nodes. `sudo`: may pass additionalArguments."""

    name: str
    kubernetes_user: str
    groups: tuple[str, ...]
    namespace: str
    tags: frozenset[str] = frozenset()
    sudo: bool = False

    @property
    def annotations(self) -> Mapping[str, str]:
        """What an Experiment that is made for them must carry; admission lets nobody else write it."""
        tags = {ANNOTATION_TAGS: joined(self.tags)} if self.tags else {}
        return {ANNOTATION_USER: self.kubernetes_user, **tags}
