"""Whole tunnels with our module at one end and mainline's at the other, in one kernel: ovpn6 asks
for ours by its name, OpenVPN 2.7 has the kernel's own."""

from __future__ import annotations

import pytest
from interop.ends import make_authority
from vm.guest_kmod.test_interop import OFFLOAD, Case, Program, check

from ovpn6.lab import Lab, Ovpn6, Underlay
from ovpn6.pki.authority import Authority

pytestmark = pytest.mark.root

BY_NAME = Program("ovpn6", Ovpn6, "ovpn6", ("kernel-module ovpn6",))
CASES = (
    Case(BY_NAME, OFFLOAD, Underlay.IPV6),
    Case(OFFLOAD, BY_NAME, Underlay.IPV4),
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("beside"))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_our_module_and_mainlines_understand_each_other(
    lab: Lab, authority: Authority, case: Case
) -> None:
    check(lab, authority, case)
