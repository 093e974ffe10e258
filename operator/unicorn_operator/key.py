"""What the queue holds, and what everything else is found by."""

from typing import NamedTuple


class Key(NamedTuple):
    """One object of ours."""

    kind: str  # Experiment, Connector, …
    namespace: str
    name: str
