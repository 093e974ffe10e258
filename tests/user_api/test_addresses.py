"""From which address somebody comes."""

from ipaddress import ip_network

import pytest
from unicorn_gateway.user_api.authentication.addresses import address_behind

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
ADDRESSES = [
    ("9.9.9.9", [], "9.9.9.9", "nobody in between"),
    ("9.9.9.9", ["1.2.3.4"], "9.9.9.9", "who is no proxy of ours may write what they like"),
    ("10.0.0.1", [], "10.0.0.1", "a proxy that says nothing"),
    ("10.0.0.1", ["1.2.3.4"], "1.2.3.4", "what a proxy says"),
    ("10.0.0.1", ["6.6.6.6, 1.2.3.4"], "1.2.3.4", "what the client wrote before it counts for nothing"),
    ("10.0.0.1", ["6.6.6.6", "1.2.3.4, 10.0.0.2"], "1.2.3.4", "proxies behind proxies, in two headers"),
    ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3", "only proxies"),
    ("10.0.0.1", ["1.2.3.4:5678"], "1.2.3.4", "with a port"),
    ("10.0.0.1", ["[2001:db8::1]:5678"], "2001:db8::1", "IPv6, with a port"),
    ("10.0.0.1", ["2001:DB8:0::1"], "2001:db8::1", "one address in one form"),
    ("::ffff:10.0.0.1", ["1.2.3.4"], "1.2.3.4", "IPv4 in IPv6"),
    ("fd00::1", ["1.2.3.4, unknown"], "fd00::1", "what is no address ends it"),
    ("", ["1.2.3.4"], "", "a peer without an address"),
]


@pytest.mark.parametrize(("peer", "forwarded", "address", "because"), ADDRESSES, ids=[row[-1] for row in ADDRESSES])
def test_addresses(peer, forwarded, address, because):
    assert address_behind(peer, forwarded, TRUSTED) == address, because


def test_without_trusted_proxies_nobody_is_believed():
    assert address_behind("10.0.0.1", ["1.2.3.4"], []) == "10.0.0.1"
