"""What the API server last said about our objects: fed by the watches, repaired by listing, never asked over the network.

A cache lags behind. It never goes back: an older version of an object does not replace a newer one, and a deleted one
does not come back (a listing that began before the deletion still has it).
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from unicorn_core.naming import GROUP

from unicorn_operator.key import Key

Object = dict[str, Any]
Index = Callable[[Object], Iterable[str]]
"""What an object is found by, besides its name and uid."""

_TOMBSTONES = 20_000


def version(item: Object) -> int:
    """resourceVersion, as a number: the API server's own order (KEP-5504)."""
    try:
        return int(item["metadata"].get("resourceVersion") or 0)
    except ValueError:
        return 0


def key_of(item: Object, kind: str) -> Key:
    metadata = item["metadata"]
    return Key(kind, metadata.get("namespace", ""), metadata["name"])


class Cache:
    """The objects of one kind. They are shared: nobody changes them."""

    def __init__(self, kind: str, indexes: Mapping[str, Index] | None = None) -> None:
        self.kind = kind
        self._indexes = dict(indexes or {})
        self._objects: dict[Key, Object] = {}
        self._uids: dict[str, Key] = {}
        self._found: dict[str, dict[str, set[Key]]] = {name: {} for name in self._indexes}
        self._gone: OrderedDict[str, None] = OrderedDict()  # uids, oldest first

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[Object]:
        return iter(list(self._objects.values()))

    def all_keys(self) -> list[Key]:
        return list(self._objects)

    def get(self, namespace: str, name: str) -> Object | None:
        return self._objects.get(Key(self.kind, namespace, name))

    def by_uid(self, uid: str) -> Object | None:
        key = self._uids.get(str(uid))
        return self._objects[key] if key else None

    def find(self, index: str, value: str) -> list[Object]:
        """The objects that this index files under `value`, by name."""
        return [self._objects[key] for key in sorted(self._found[index].get(value, ()))]

    def put(self, item: Object) -> bool:
        """Take a version of an object, wherever it comes from. False when it was not news."""
        uid = item["metadata"]["uid"]
        if uid in self._gone:
            return False
        key = key_of(item, self.kind)
        old = self._objects.get(key)
        if old is not None and version(old) >= version(item):
            return False
        if old is not None:
            self._drop(key, old)
        item["metadata"].pop("managedFields", None)  # large, and nobody reads it
        self._objects[key] = item
        self._uids[uid] = key
        for name, index in self._indexes.items():
            for value in index(item):
                self._found[name].setdefault(value, set()).add(key)
        return True

    def remove(self, item: Object) -> bool:
        """The object of this uid is no more. False when that was known."""
        uid = item["metadata"]["uid"]
        self._gone[uid] = None
        while len(self._gone) > _TOMBSTONES:
            self._gone.popitem(last=False)
        key = self._uids.get(uid)
        if key is None:
            return False
        self._drop(key, self._objects.pop(key))
        return True

    def sweep(self, listed: Iterable[Object], listed_at: int) -> list[Key]:
        """Make good what the watch missed, with a listing that saw the collection at version `listed_at`.

        Answers the keys of what was new to the cache, or is gone: an object that the listing has not, unless it is
        younger than the listing.
        """
        missed: list[Key] = []
        seen: set[str] = set()
        for item in listed:
            seen.add(item["metadata"]["uid"])
            if self.put(item):
                missed.append(key_of(item, self.kind))
        for item in list(self._objects.values()):
            if item["metadata"]["uid"] not in seen and version(item) <= listed_at:
                missed.append(key_of(item, self.kind))
                self.remove(item)
        return missed

    def _drop(self, key: Key, old: Object) -> None:
        self._uids.pop(old["metadata"]["uid"], None)
        for name, index in self._indexes.items():
            for value in index(old):
                keys = self._found[name].get(value)
                if keys is None:
                    continue
                keys.discard(key)
                if not keys:
                    del self._found[name][value]


def path(namespace: str, name: str) -> str:
    """What the indexes file a reference under."""
    return f"{namespace}/{name}"


class Caches:
    """The five kinds of ours, and the namespaces (their labels decide about sharing)."""

    def __init__(self) -> None:
        self.experiments = Cache(
            "Experiment",
            {
                "pipeline": lambda item: _references(item, "pipelineRef"),
                "environment": lambda item: _references(item, "environmentRef"),
                "connector": _connectors_of_experiment,
                "namespace": lambda item: [item["metadata"].get("namespace", "")],
            },
        )
        self.pipelines = Cache("Pipeline")
        self.environments = Cache("Environment")
        self.connectors = Cache("Connector", {"secret": _secret_of_connector})
        self.target_nodes = Cache("TargetNode", {"connector": _connector_of_node, "owner": _owners})
        self.namespaces = Cache("Namespace")
        self.by_kind: Mapping[str, Cache] = {
            cache.kind: cache
            for cache in (
                self.experiments,
                self.pipelines,
                self.environments,
                self.connectors,
                self.target_nodes,
                self.namespaces,
            )
        }

    def get(self, key: Key) -> Object | None:
        return self.by_kind[key.kind].get(key.namespace, key.name)

    def namespace_labels(self, namespace: str) -> Mapping[str, str]:
        item = self.namespaces.get("", namespace)
        return (item or {}).get("metadata", {}).get("labels") or {}


def _deployments(item: Object) -> list[Object]:
    return [entry for entry in (item.get("spec") or {}).get("deployments") or () if isinstance(entry, dict)]


def _references(item: Object, field: str) -> set[str]:
    here = item["metadata"].get("namespace", "")
    return {path(here, entry[field].get("name", "")) for entry in _deployments(item) if isinstance(entry.get(field), dict)}


def _connectors_of_experiment(item: Object) -> set[str]:
    """`*`: one of its deployments names no connector."""
    here = item["metadata"].get("namespace", "")
    found = set()
    for entry in _deployments(item):
        reference = (entry.get("nodes") or {}).get("connectorRef")
        found.add(path(reference.get("namespace") or here, reference.get("name", "")) if isinstance(reference, dict) else "*")
    return found


def _connector_of_node(item: Object) -> list[str]:
    reference = (item.get("spec") or {}).get("connectorRef") or {}
    return [path(item["metadata"].get("namespace", ""), reference.get("name", ""))]


def _secret_of_connector(item: Object) -> list[str]:
    reference = (item.get("spec") or {}).get("credentialsSecretRef")
    return [path(item["metadata"].get("namespace", ""), reference["name"])] if reference and reference.get("name") else []


def _owners(item: Object) -> list[str]:
    """The uid of the Connector whose discovery made it; hand-written ones have none."""
    return [
        owner["uid"]
        for owner in item["metadata"].get("ownerReferences") or ()
        if owner.get("kind") == "Connector" and owner.get("apiVersion", "").startswith(GROUP + "/")
    ]
