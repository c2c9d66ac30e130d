"""Whole tunnels with our module at one end and mainline's at the other, in one kernel: ovpn6 takes
ours before the kernel's own, which OpenVPN 2.7 has."""

from __future__ import annotations

import pytest
from interop.ends import make_authority
from vm.guest_kmod.test_interop import OFFLOAD, Case, Program, check

from ovpn6.lab import Lab, Ovpn6, Underlay
from ovpn6.pki.authority import Authority

pytestmark = pytest.mark.root

OURS = Program("ovpn6", Ovpn6, "ovpn6")
CASES = (
    Case(OURS, OFFLOAD, Underlay.IPV6),
    Case(OFFLOAD, OURS, Underlay.IPV4),
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("beside"))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_our_module_and_mainlines_understand_each_other(
    lab: Lab, authority: Authority, case: Case
) -> None:
    check(lab, authority, case)
