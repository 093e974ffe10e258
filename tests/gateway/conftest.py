"""A real gateway on a real PostgreSQL, as its own database role."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from gateway_parts import Operator, Running, Start, gateway_on
from unicorn_core import tokens
from unicorn_core.tokens import SigningKey
from unicorn_store import Store, connect


@pytest.fixture
async def store(migrated: str) -> AsyncIterator[Store]:
    """As the superuser: what the operator and the tests see."""
    store = await connect(migrated, application_name="unicorn-test", max_size=5)
    yield store
    await store.close()


@pytest.fixture
def keys(tmp_path: Path) -> SigningKey:
    return tokens.write_new_key(tmp_path / "keys")


@pytest.fixture
def operator(store: Store) -> Operator:
    return Operator(store)


@pytest.fixture
async def start(migrated: str, keys: SigningKey, tmp_path: Path) -> AsyncIterator[Start]:
    """`async with start(setting=…) as running`: a gateway process's worth of server. Closed at the end of the test."""
    async with AsyncExitStack() as stack:

        async def begin(**settings: Any) -> Running:
            return await stack.enter_async_context(gateway_on(migrated, keys, tmp_path, **settings))

        yield begin


@pytest.fixture
async def gateway(start: Start) -> Running:
    return await start()
