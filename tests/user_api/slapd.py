"""A real LDAP server with a few users, on loopback."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from unicorn_devcluster import tools

BASE = "dc=lab,dc=example"
_SLAPD = "/usr/sbin/slapd"
ADMIN, ADMIN_PASSWORD = f"cn=admin,{BASE}", "the directory's own"
_CONFIG = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload ppolicy
pidfile {directory}/pid
TLSCertificateFile {directory}/tls.crt
TLSCertificateKeyFile {directory}/tls.key
disallow bind_anon
require authc
database mdb
maxsize 10485760
suffix "{base}"
rootdn "{admin}"
rootpw "{password}"
directory {directory}/data
overlay ppolicy
access to attrs=userPassword by anonymous auth by self write by * none
access to * by dn="cn=searcher,{base}" read by * none
"""
_ENTRIES = f"""
dn: {BASE}
objectClass: dcObject
objectClass: organization
o: lab
dc: lab

dn: ou=people,{BASE}
objectClass: organizationalUnit
ou: people

dn: ou=groups,{BASE}
objectClass: organizationalUnit
ou: groups

dn: cn=searcher,{BASE}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: searcher
userPassword: searching
"""


@dataclass
class Slapd:
    """`searcher`: the DN that may read; its password stands in `password_file`."""

    url: str
    secure_url: str
    directory: Path
    process: subprocess.Popen[bytes]

    searcher = f"cn=searcher,{BASE}"

    @property
    def password_file(self) -> Path:
        return self.directory / "searching"

    def environment(self, **more: str) -> dict[str, str]:
        """The settings of the method `ldap` for it."""
        return {
            "UNICORN_LDAP_URL": self.url,
            "UNICORN_LDAP_BIND_DN": self.searcher,
            "UNICORN_LDAP_BIND_PASSWORD_FILE": str(self.password_file),
            "UNICORN_LDAP_USER_BASE": f"ou=people,{BASE}",
            "UNICORN_LDAP_GROUP_BASE": f"ou=groups,{BASE}",
            **more,
        }

    def user(self, name: str, password: str, *, more: str = "") -> None:
        """`more`: further lines of the entry."""
        entry = f"dn: uid={name},ou=people,{BASE}\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name}\nsn: {name}\n"
        self._change("ldapadd", entry + more)
        self.set_password(name, password)

    def set_password(self, name: str, password: str) -> None:
        self._run("ldappasswd", "-s", password, f"uid={name},ou=people,{BASE}")

    def remove(self, name: str) -> None:
        self._run("ldapdelete", f"uid={name},ou=people,{BASE}")

    def group(self, name: str, *members: str) -> None:
        listed = "".join(f"member: uid={member},ou=people,{BASE}\n" for member in members)
        self._change("ldapadd", f"dn: cn={name},ou=groups,{BASE}\nobjectClass: groupOfNames\ncn: {name}\n{listed}")

    def ungroup(self, name: str) -> None:
        self._run("ldapdelete", f"cn={name},ou=groups,{BASE}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)

    def _change(self, command: str, ldif: str) -> None:
        self._run(command, input=ldif)

    def _run(self, command: str, *arguments: str, input: str | None = None) -> None:
        tools.run(command, "-x", "-H", self.url, "-D", ADMIN, "-w", ADMIN_PASSWORD, *arguments, input=input)


def is_there() -> bool:
    return Path(_SLAPD).exists() and shutil.which("ldapadd") is not None


@contextmanager
def running(directory: Path) -> Iterator[Slapd]:
    """`directory`: has tls.crt and tls.key. Raises ToolError."""
    tools.ensure({_SLAPD: "slapd", "ldapadd": "ldap-utils"}, "tests of logins with LDAP", print)
    (directory / "data").mkdir()
    (directory / "searching").write_text("searching\n")
    values = {"directory": directory, "base": BASE, "admin": ADMIN, "password": ADMIN_PASSWORD}
    config = directory / "slapd.conf"
    config.write_text(_CONFIG.format(**values))
    tools.run("/usr/sbin/slapadd", "-f", config, input=_ENTRIES)
    port, secure = _free_port(), _free_port()
    urls = f"ldap://127.0.0.1:{port}/ ldaps://127.0.0.1:{secure}/"
    with (directory / "slapd.log").open("wb") as log:
        process = subprocess.Popen([_SLAPD, "-f", str(config), "-h", urls, "-d", "0"], stdout=log, stderr=log)
    server = Slapd(f"ldap://127.0.0.1:{port}", f"ldaps://127.0.0.1:{secure}", directory, process)
    try:
        _wait(port, process, directory)
        yield server
    finally:
        if process.poll() is None:
            server.stop()


def _wait(port: int, process: subprocess.Popen[bytes], directory: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert process.poll() is None, (directory / "slapd.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
