"""A store on a migrated database."""

from collections.abc import AsyncIterator

import pytest
from unicorn_store import Store, connect


@pytest.fixture
async def store(migrated: str) -> AsyncIterator[Store]:
    store = await connect(migrated, application_name="unicorn-test", max_size=5)
    yield store
    await store.close()
