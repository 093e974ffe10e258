"""Ports for servers."""

import socket

import pytest
from unicorn_devcluster import ports as module
from unicorn_devcluster.ports import free_port, free_ports


def test_no_connection_is_given_the_port_of_a_server() -> None:
    """By default those of connections begin at 32768."""
    assert all(20_000 <= port < 30_000 for port in (free_port("127.0.0.1"), *free_ports(9)))


def test_they_are_different_and_free(monkeypatch: pytest.MonkeyPatch) -> None:
    first = free_port("127.0.0.1")
    monkeypatch.setattr(module, "_RANGE", range(first, first + 1))
    assert free_port("127.0.0.1") == first
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        with pytest.raises(OSError, match="no 1 free ports"):
            free_port("127.0.0.1")
    with pytest.raises(OSError, match="no 2 free ports"):
        free_ports(2)
