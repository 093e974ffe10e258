"""A certificate authority of our own and a server certificate from it. Time is an argument; nothing is read or written."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_LIFE = timedelta(days=3650)
CA_RENEWAL = timedelta(days=365)
LIFE = timedelta(days=90)
RENEWAL = timedelta(days=30)
_SKEW = timedelta(hours=1)  # clocks differ


@dataclass(frozen=True, slots=True)
class Bundle:
    """PEM. `ca` may hold an older authority behind the present one, so that both are trusted while replicas change over."""

    ca: bytes
    ca_key: bytes = field(repr=False)
    certificate: bytes
    key: bytes = field(repr=False)


def renewed(bundle: Bundle | None, names: Sequence[str], now: datetime) -> Bundle:
    """A bundle that is good for these names for a while: the same one when it is already."""
    readable = bundle is not None and _is_readable(bundle)
    if bundle is None or not readable:
        ca, ca_key = _authority(now)
        return Bundle(ca, ca_key, *_issue(ca, ca_key, names, now))
    if _ends(bundle.ca) - now < CA_RENEWAL:
        ca, ca_key = _authority(now)
        return Bundle(ca + _first(bundle.ca), ca_key, *_issue(ca, ca_key, _union(bundle, names), now))
    if _ends(bundle.certificate) - now < RENEWAL or not set(names) <= set(names_of(bundle.certificate)):
        return Bundle(bundle.ca, bundle.ca_key, *_issue(bundle.ca, bundle.ca_key, _union(bundle, names), now))
    return bundle


def names_of(certificate: bytes) -> tuple[str, ...]:
    """The DNS names and IP addresses that a certificate is for."""
    extension = x509.load_pem_x509_certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return tuple(str(name.value) for name in extension.value)


def _union(bundle: Bundle, names: Sequence[str]) -> tuple[str, ...]:
    """Replicas with other names share the Secret: none takes another's away."""
    return tuple(sorted({*names_of(bundle.certificate), *names}))


def _is_readable(bundle: Bundle) -> bool:
    try:
        authority = x509.load_pem_x509_certificate(bundle.ca)
        certificate = x509.load_pem_x509_certificate(bundle.certificate)
        names_of(bundle.certificate)
        for part, key in ((authority, bundle.ca_key), (certificate, bundle.key)):
            if serialization.load_pem_private_key(key, None).public_key() != part.public_key():
                return False
        certificate.verify_directly_issued_by(authority)
    except Exception:  # whatever somebody put into the Secret: it is made anew
        return False
    return True


def _ends(pem: bytes) -> datetime:
    return x509.load_pem_x509_certificate(pem).not_valid_after_utc


def _first(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.PEM)


def _authority(now: datetime) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"netunicorn-operator webhook CA {now:%Y-%m-%d}")
    certificate = (
        _builder(name, name, key, now, CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), _pem(key)


def _issue(ca: bytes, ca_key: bytes, names: Sequence[str], now: datetime) -> tuple[bytes, bytes]:
    authority = x509.load_pem_x509_certificate(ca)
    signer = serialization.load_pem_private_key(ca_key, None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise TypeError("the authority's key is none that we made")
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(_name("netunicorn-operator webhook"), authority.subject, key, now, LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .sign(signer, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), _pem(key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + life)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
