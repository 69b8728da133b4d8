"""What all tests share: real servers as fixtures, and hypothesis' pace."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "dicomcast", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.load_profile("dicomcast")
