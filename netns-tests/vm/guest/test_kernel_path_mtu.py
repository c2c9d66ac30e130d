"""Probes of the path where data is in the kernel: ours, and OpenVPN 2.7 with its offload."""

from __future__ import annotations

import pytest
from interop.ends import OURS_OURS, OURS_STOCK, STOCK_OURS, Maker, Pairing, make_authority, start

from ovpn6.lab import Lab, Underlay, ping
from ovpn6.lab.narrow import narrow
from ovpn6.pki.authority import Authority
from ovpn6.pki.profile import Wrap

pytestmark = pytest.mark.root

FOUND = r"path MTU 1400 \(probe\)"
CONVERGED = 30.0
CASES = (
    (OURS_OURS, Wrap.TLS_CRYPT, Underlay.IPV6),
    (OURS_STOCK, Wrap.TLS_CRYPT, Underlay.IPV6),
    (OURS_STOCK, Wrap.TLS_AUTH, Underlay.IPV4),
    (STOCK_OURS, Wrap.TLS_CRYPT_V2, Underlay.IPV6),
    (STOCK_OURS, Wrap.NONE, Underlay.IPV4),
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("kernel-path-mtu"))


@pytest.mark.parametrize(
    ("pairing", "wrap", "outer"),
    CASES,
    ids=[f"{pairing}-{wrap.value}-{outer.name}" for pairing, wrap, outer in CASES],
)
def test_the_size_of_a_silent_path_is_found_with_data_in_the_kernel(
    lab: Lab, authority: Authority, pairing: Pairing, wrap: Wrap, outer: Underlay
) -> None:
    net = narrow(lab, outer, path=1400, black_hole=True)
    ends = start(net.line, authority, pairing, wrap=wrap)
    both = ((ends.server, pairing.server), (ends.client, pairing.client))
    for end, maker in both:
        assert end.device().kind == "ovpn"
        if maker is Maker.OURS:
            end.process.wait_for_log(FOUND, CONVERGED)
    # What our end sends fits at once; OpenVPN's own may not.
    tunnel = 1400 - 24 - (48 if outer is Underlay.IPV6 else 28)
    if pairing is OURS_OURS:
        for address in ends.inner_addresses():
            headers = 48 if ":" in address else 28
            answer = ping(net.line.server, address, size=tunnel - headers)
            assert answer.complete, address
