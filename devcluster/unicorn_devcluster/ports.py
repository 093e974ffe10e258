"""Free ports for servers, outside of those that systems give to connections (from 32768 on).

While a server is down, whoever tries to reach it from this machine may be given its very port, and then talks to itself: the
server could not take its port again.
"""

import itertools
import random
import socket

_RANGE = range(20_000, 30_000)  # below what Kubernetes has for NodePorts


def free_port(host: str = "") -> int:
    """One that is free on this address now; without one, on all. Raises OSError."""
    return free_ports(1, host)[0]


def free_ports(count: int, host: str = "") -> list[int]:
    """Different ones. Raises OSError when there are not so many."""
    free = (port for port in random.sample(_RANGE, len(_RANGE)) if _is_free(host, port))
    found = list(itertools.islice(free, count))
    if len(found) < count:
        raise OSError(f"no {count} free ports from {_RANGE.start} on")
    return found


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
