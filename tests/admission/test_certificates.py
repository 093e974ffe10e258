"""The certificates of the webhooks: made once, kept while good, renewed in time."""

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from unicorn_core.errors import Broken, Refused
from unicorn_operator.admission import AdmissionSettings
from unicorn_operator.admission.certificates import Bundle, names_of, renewed
from unicorn_operator.admission.keeping import Served, current

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
DAY = timedelta(days=1)
NAMES = ("hook.ns.svc", "10.88.0.1")


@pytest.fixture(scope="module")
def bundle():
    return renewed(None, NAMES, NOON)


def ends(pem):
    return x509.load_pem_x509_certificate(pem).not_valid_after_utc


def issued_by(certificate, authority):
    x509.load_pem_x509_certificate(certificate).verify_directly_issued_by(x509.load_pem_x509_certificate(authority))


def test_made_once(bundle):
    assert names_of(bundle.certificate) == NAMES
    issued_by(bundle.certificate, bundle.ca)
    assert renewed(bundle, NAMES, NOON) == bundle


@pytest.mark.parametrize(
    ("after", "certificate_stays", "authority_stays", "because"),
    [
        (59 * DAY, True, True, "30 days and more are left"),
        (61 * DAY, False, True, "a month is left: time to renew"),
        (400 * DAY, False, True, "it has ended; the authority is good for years"),
        (3300 * DAY, False, False, "the authority's last year"),
    ],
)
def test_renewal(bundle, after, certificate_stays, authority_stays, because):
    later = renewed(bundle, NAMES, NOON + after)
    assert (later.certificate == bundle.certificate) is certificate_stays, because
    assert (later.ca == bundle.ca) is authority_stays, because
    assert ends(later.certificate) > NOON + after + 29 * DAY
    issued_by(later.certificate, later.ca)


def test_both_authorities_are_trusted_while_replicas_change_over(bundle):
    later = renewed(bundle, NAMES, NOON + 3300 * DAY)
    assert [x509.load_pem_x509_certificate(bundle.ca)] == x509.load_pem_x509_certificates(later.ca)[1:]
    ssl.create_default_context(cadata=later.ca.decode())


def test_replicas_with_other_names_take_none_away(bundle):
    later = renewed(bundle, ("other.ns.svc",), NOON)
    assert set(names_of(later.certificate)) == {*NAMES, "other.ns.svc"}
    assert renewed(later, NAMES, NOON) == later


@pytest.mark.parametrize("part", ["ca", "ca_key", "certificate", "key"])
def test_what_cannot_be_read_is_made_anew(bundle, part):
    other = renewed(None, NAMES, NOON)
    for content in (b"", b"nonsense", getattr(other, part)):
        parts = {name: getattr(bundle, name) for name in ("ca", "ca_key", "certificate", "key")}
        later = renewed(Bundle(**{**parts, part: content}), NAMES, NOON)
        issued_by(later.certificate, later.ca)
        assert names_of(later.certificate) == NAMES


def test_keys_are_not_shown(bundle):
    assert "PRIVATE" not in repr(bundle)


@pytest.mark.parametrize(
    ("settings", "reached", "names"),
    [
        ({"url": "https://10.88.0.1"}, {"url": "https://10.88.0.1:7443/x"}, ("10.88.0.1",)),
        ({"url": "https://host.example:9443"}, {"url": "https://host.example:9443/x"}, ("host.example",)),
        ({"url": "https://[fd00::1]"}, {"url": "https://[fd00::1]:7443/x"}, ("fd00::1",)),
        (
            {"service": "hook"},
            {"service": {"namespace": "ns", "name": "hook", "port": 443, "path": "/x"}},
            ("hook.ns.svc", "hook.ns.svc.cluster.local"),
        ),
    ],
)
def test_where_the_api_server_finds_us(settings, reached, names):
    made = AdmissionSettings(namespace="ns", **settings)
    assert made.reached_at("/x", 7443) == reached
    assert made.names == names


@pytest.mark.parametrize("settings", [{}, {"url": "https://a", "service": "b"}, {"url": "http://a"}, {"url": "a:443"}])
def test_settings_that_lead_nowhere(settings):
    with pytest.raises(Refused):
        AdmissionSettings(namespace="ns", **settings)


async def test_a_certificate_that_somebody_else_keeps(bundle, tmp_path):
    settings = AdmissionSettings(namespace="ns", service="hook", certificate_directory=str(tmp_path))
    with pytest.raises(Broken, match="cannot read the webhooks' certificate"):
        await current(settings, None, lambda: NOON)
    (tmp_path / "tls.crt").write_bytes(bundle.certificate)
    (tmp_path / "tls.key").write_bytes(bundle.key)
    assert (await current(settings, None, lambda: NOON)).ca == b"", "then somebody else says whom to trust"
    (tmp_path / "ca.crt").write_bytes(bundle.ca)
    assert await current(settings, None, lambda: NOON) == Served(bundle.certificate, bundle.key, bundle.ca)
