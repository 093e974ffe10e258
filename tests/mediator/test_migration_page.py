"""The page for users of netunicorn names every route that they have, and no other."""

import re
from pathlib import Path

from unicorn_gateway.user_api.routes import ROUTES
from unicorn_gateway.user_api.routing import Version

PAGE = (Path(__file__).parents[2] / "docs" / "migration.md").read_text()


def test_every_route_is_in_the_table() -> None:
    served = {(route.method, route.path) for route in ROUTES if route.version is Version.V1}
    assert set(re.findall(r"^\| `([A-Z]+) (/api/v1/[^`]+)` \|", PAGE, re.MULTILINE)) == served
