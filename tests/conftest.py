"""What all tests share: hypothesis' pace."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_CHECKS = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("quick", deadline=None, max_examples=40, suppress_health_check=_CHECKS)
settings.register_profile("soak", deadline=None, max_examples=3000, suppress_health_check=_CHECKS)
settings.load_profile(os.environ.get("DICOMCAST_TEST_PROFILE", "quick"))
