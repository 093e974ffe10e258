"""A gateway that starts before the operator has made its login and the schema: it waits, says why, and goes on by itself."""

from urllib.parse import urlsplit, urlunsplit

import psycopg
from gateway_parts import eventually, gateway_on
from unicorn_store import make_login, migrate


async def test_it_waits_for_login_and_schema(database, keys, tmp_path):
    parts = urlsplit(database)
    user = "early_" + parts.path.strip("/")
    address = f"{user}:p@{parts.hostname}:{parts.port}"
    own = urlunsplit(parts._replace(netloc=address))

    async def says():
        async with gateway.http.get(gateway.url + "/readyz") as response:
            return (await response.json()).get("detail", "") if response.status != 200 else ""

    async def is_ready():
        return await says() == ""

    try:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {user} LOGIN PASSWORD 'p'")
        async with gateway_on(own, keys, tmp_path, database_url=own) as gateway:

            async def misses_the_schema():
                return "does not exist" in await says()

            await eventually(misses_the_schema)
            migrate(database)

            async def misses_its_rights():
                return "permission denied" in await says()

            await eventually(misses_its_rights)
            make_login(database, own, "executor-gateway")
            await eventually(is_ready)
    finally:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(f"DROP ROLE IF EXISTS {user}")
