"""Executors as processes beside the operator, for one machine and for demos. Linux only.

Each has a directory of its own (directory.py) and, where the operator is root, a user id of its own (identity.py).
They outlive the operator; a new one takes them up again from their directories.
"""

from unicorn_connectors.local.config import LocalConfig
from unicorn_connectors.local.connector import TYPE, LocalConnector

__all__ = ["TYPE", "LocalConfig", "LocalConnector"]
