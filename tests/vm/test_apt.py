"""The order of Debian's versions."""

from __future__ import annotations

import random

from vm.apt import version_order

ASCENDING = (
    "6.1.192-2",
    "6.12.94-1",
    "6.12.115-1~deb12u1",
    "6.12.115-1",
    "6.12.115-1.1",
    "6.12.117-1~deb12u1",
    "6.12.117-1",
    "7.2.12-1~bpo13+1",
    "7.3~rc1-1~exp1",
    "7.3-1",
    "7.3.4-1~bpo13+1",
    "7.3.4-1",
    "7.3.4+b1-1",
)


def test_versions_sort_as_debian_sorts_them() -> None:
    shuffled = random.Random(1).sample(ASCENDING, len(ASCENDING))
    assert tuple(sorted(shuffled, key=version_order)) == ASCENDING
