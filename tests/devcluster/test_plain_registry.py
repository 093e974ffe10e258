"""Which registries the operator is told to speak to without TLS."""

import pytest
from registry_kit import RegistryServer
from unicorn_devcluster import registry
from unicorn_devcluster.certificates import Authority

pytestmark = pytest.mark.tools


def test_plain_is_what_answers_without_tls(tmp_path, unused_tcp_port_factory):
    authority = Authority.make(tmp_path)
    tls = authority.sign(tmp_path, "registry", user="registry", hosts=["127.0.0.1"])
    for name, options, plain in (("open", {}, True), ("closed", {"passwords": True}, True), ("tls", {"tls": tls}, False)):
        server = RegistryServer.make(tmp_path / name, unused_tcp_port_factory(), **options).start()
        try:
            assert registry.is_plain(server.host) is plain, name
        finally:
            server.stop()
    assert not registry.is_plain(f"127.0.0.1:{unused_tcp_port_factory()}")
