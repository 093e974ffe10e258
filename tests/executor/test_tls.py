"""An https gateway whose certificate only UNICORN_CA_FILE vouches for."""

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from conftest import reaches
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from executor_graphs import chain
from fake_gateway import FakeGateway


@pytest.fixture
def certificate(tmp_path):
    """Of 127.0.0.1, signed by itself; the path of a PEM with its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "gateway.pem"
    pem = serialization.Encoding.PEM
    path.write_bytes(
        made.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.fixture
async def gateway(certificate):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    fake = FakeGateway(context)
    await fake.start()
    yield fake
    await fake.stop()


async def test_a_private_authority(start, certificate):
    agent = await start(chain(a={"run": "echo x"}), environment={"UNICORN_CA_FILE": str(certificate)})
    assert (await agent.result())["outcome"] == "Success"


async def test_an_unknown_authority_is_not_trusted_and_said(start):
    agent = await start(chain(a={"run": "echo x"}))
    await reaches(lambda: agent.said("certificate verify failed"))
    assert agent.token not in agent.errors.read_text()
