"""Logins with a real directory."""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
import slapd
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from unicorn_core.errors import Refused
from unicorn_devcluster import tools
from unicorn_gateway import settings
from unicorn_gateway.user_api.authentication.directory import Directory, LdapSettings
from unicorn_gateway.user_api.authentication.methods.ldap import home_of
from unicorn_store import users
from user_parts import account

pytestmark = pytest.mark.database
VERIFY = ("GET", "/api/v1/verify_token")
OWN = "ann's own"


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    if not (slapd.is_there() or tools.can_install() or os.environ.get("CI")):
        pytest.skip("slapd is not installed, and only root on Debian is served by itself")
    path = tmp_path_factory.mktemp("slapd")
    self_signed(path)
    with slapd.running(path) as server:
        server.user("ann", "ann's own")
        server.user("ben", "ben's own")
        server.group("students", "ann", "ben")
        server.group("unicorn-tag-red", "ann")
        server.group("unicorn-sudo", "ann")
        yield server


@pytest.fixture
def ldap(start, directory, monkeypatch):
    """A user API that asks the database first, then the directory."""

    async def begin(methods=("database", "ldap"), environment=(), **more):
        for name, value in {**directory.environment(), **dict(environment)}.items():
            monkeypatch.setenv(name, value)
        return await start(authentication=methods, **more)

    return begin


async def test_a_user_of_the_directory_gets_an_account_at_the_first_login(ldap, store):
    api = await ldap()
    user = await api.logged_in("ann", "ann's own")
    assert (await user.call(*VERIFY)).status == 200
    made = await users.by_name(store, "ann")
    assert (made.method, made.kubernetes_user, made.namespace) == ("ldap", "netunicorn:ann", "unicorn-ann")
    assert (made.groups, made.access_tags, made.sudo) == (("students", "unicorn-sudo", "unicorn-tag-red"), ("red",), True)
    assert made.password_hash is None
    await api.logged_in("ANN", "ann's own")
    assert [each.name for each in await users.every(store)] == ["ann"], "whatever way the name is written"


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ann", "wrong"),
        ("nobody", "ann's own"),
        ("*", "ann's own"),
        ("ann)(uid=*", "ann's own"),
        ("a*", "ann's own"),
        ("ann", " "),
        ("ann", "no password has a \u0007 bell"),
    ],
)
async def test_who_is_refused(ldap, store, name, password):
    api = await ldap()
    answer = await api.user().log_in(name, password)
    assert (answer.status, answer.body) == (401, {"detail": "Incorrect username or password"})
    assert await users.every(store) == []


async def test_an_account_of_the_database_is_not_the_directorys_user_of_that_name(ldap, store):
    await account(store, "ann", sudo=False)
    api = await ldap()
    assert (await api.user().log_in("ann", "ann's own")).status == 401
    await api.logged_in("ann")
    assert (await users.by_name(store, "ann")).method == "database"


async def test_several_at_once(ldap, store):
    await account(store, "carl")
    api = await ldap()
    await api.logged_in("carl")
    await api.logged_in("ben", "ben's own")


async def test_a_changed_password_ends_the_tokens(ldap, directory):
    directory.user("dora", "first")
    api = await ldap(environment={"UNICORN_LDAP_RECHECK_INTERVAL": "0s"})
    user = await api.logged_in("dora", "first")
    assert (await user.call(*VERIFY)).status == 200
    began = datetime.now(UTC).replace(microsecond=0)
    while datetime.now(UTC) < began + timedelta(seconds=1):  # the directory counts in whole seconds
        await asyncio.sleep(0.05)
    directory.set_password("dora", "second")
    assert (await user.call(*VERIFY)).status == 401
    assert (await api.user().log_in("dora", "first")).status == 401
    assert (await (await api.logged_in("dora", "second")).call(*VERIFY)).status == 200


async def test_who_has_left_the_directory_has_left_here(ldap, directory, store):
    directory.user("emil", "emil's own")
    directory.group("unicorn-tag-blue", "emil")
    api = await ldap(environment={"UNICORN_LDAP_RECHECK_INTERVAL": "0s"})
    user = await api.logged_in("emil", "emil's own")
    directory.ungroup("unicorn-tag-blue")
    assert (await user.call(*VERIFY)).status == 200
    assert (await users.by_name(store, "emil")).access_tags == (), "what the directory says of them is looked at again"
    directory.remove("emil")
    assert (await user.call(*VERIFY)).status == 401


async def test_who_logs_in_by_another_attribute_is_looked_at_again_by_their_name(ldap, directory):
    """A login is a mail address here; who is known by their uid is not searched for by it as if that were one."""
    directory.user("greta", "greta's own", more="mail: greta@lab.example\n")
    environment = {"UNICORN_LDAP_RECHECK_INTERVAL": "0s", "UNICORN_LDAP_USER_FILTER": "(mail={name})"}
    api = await ldap(environment=environment)
    user = await api.logged_in("greta@lab.example", "greta's own")
    assert (await user.call(*VERIFY)).status == 200
    narrower = {**environment, "UNICORN_LDAP_USER_FILTER": "(&(mail={name})(employeeType=staff))"}
    assert (await (await ldap(environment=narrower)).user(user.token).call(*VERIFY)).status == 401, "the filter still counts"
    directory.remove("greta")
    assert (await user.call(*VERIFY)).status == 401


async def test_a_directory_that_is_away(ldap, store):
    """Those of other methods log in, those of the directory are told to come back; tokens go on."""
    await account(store, "carl")
    api = await ldap()
    user = await api.logged_in("ben", "ben's own")
    away = await ldap(environment={"UNICORN_LDAP_URL": "ldap://127.0.0.1:1", "UNICORN_LDAP_RECHECK_INTERVAL": "0s"})
    await away.logged_in("carl")
    answer = await away.user().log_in("ben", "ben's own")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert (await away.user(user.token).call(*VERIFY)).status == 200


@pytest.mark.parametrize("way", ["ldaps", "start_tls"])
async def test_tls(ldap, directory, way):
    trust = {"UNICORN_LDAP_CA_FILE": str(directory.directory / "tls.crt")}
    if way == "ldaps":
        environment = {**trust, "UNICORN_LDAP_URL": directory.secure_url}
    else:
        environment = {**trust, "UNICORN_LDAP_START_TLS": "true"}
    api = await ldap(environment=environment)
    await api.logged_in("ben", "ben's own")
    monkey = {"UNICORN_LDAP_CA_FILE": "/etc/ssl/certs/ca-certificates.crt"}
    stranger = await ldap(environment={**environment, **monkey})
    assert (await stranger.user().log_in("ben", "ben's own")).status == 503, "a certificate that nobody vouches for"


async def test_the_directory_is_asked_as_much_for_the_unknown(ldap, monkeypatch):
    """A password is tried for names that nobody has, too: a refusal takes as long."""
    tried = []
    real = Directory._binds
    monkeypatch.setattr(Directory, "_binds", lambda self, dn, password: tried.append(dn) or real(self, dn, password))
    api = await ldap(methods=("ldap",))
    for name in ("ann", "somebody else"):
        assert (await api.user().log_in(name, "wrong")).status == 401
    assert tried == [f"uid=ann,ou=people,{slapd.BASE}", f"uid=nobody,ou=people,{slapd.BASE}"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"UNICORN_LDAP_URL": "http://x"}, "UNICORN_LDAP_URL is not ldaps"),
        ({"UNICORN_LDAP_URL": "ldap://directory.example"}, "passwords would travel unencrypted"),
        ({"UNICORN_LDAP_BIND_PASSWORD_FILE": "/nowhere"}, "UNICORN_LDAP_BIND_PASSWORD_FILE: there is no such file"),
        ({"UNICORN_LDAP_USER_FILTER": "(uid={user})"}, "UNICORN_LDAP_USER_FILTER: {name} and {dn}"),
        ({"UNICORN_LDAP_TIMEOUT": "soon"}, "UNICORN_LDAP_TIMEOUT: 'soon' is not a duration"),
    ],
)
def test_wrong_settings(directory, monkeypatch, changes, says):
    for name, value in {**directory.environment(), **changes}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Refused) as caught:
        settings.load(LdapSettings)
    assert says in str(caught.value)


def test_homes():
    assert home_of("unicorn-{name}", "ann") == "unicorn-ann"
    dotted, dashed = home_of("unicorn-{name}", "a.b"), home_of("unicorn-{name}", "a-b")
    assert (dotted[:12], dashed) == ("unicorn-a-b-", "unicorn-a-b")
    assert home_of("unicorn-{name}", "Ann") != home_of("unicorn-{name}", "ann")
    assert len(home_of("unicorn-{name}", "x" * 100)) <= 63


def self_signed(directory):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "tls.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    (directory / "tls.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
