"""What holds for every test here."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A machine may be slow: speed is measured in bench/, never in a test.
settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any-machine")
