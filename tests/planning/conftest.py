"""Lets the tests of this room import `planning.builders` and `planning.world`."""

import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parents[1]))

settings.register_profile("planning", max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("planning-deep", settings.get_profile("planning"), max_examples=1000)
