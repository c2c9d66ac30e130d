"""Rows of the size matrix where the data channel is in the kernel (``netns-tests/fitting``)."""

from __future__ import annotations

import re
from itertools import product

import pytest
from fitting.crossing import Host
from fitting.tunnel import Row, fitted, wrong_outer_pieces, wrong_sizes, wrong_streams
from interop.ends import make_authority

from ovpn6.lab import Lab, LabTimeout, Narrow, Ovpn6, StockOpenVPN, Tunnel, Underlay, wait_for
from ovpn6.lab.narrow import HOST_A, HOST_B
from ovpn6.pki.authority import Authority

pytestmark = pytest.mark.root

IN_KERNEL = r"data path: kernel \(ovpn\)"
LONG = pytest.mark.long
ROWS = (
    Row(1280, user_space=False),
    pytest.param(Row(1280, Underlay.IPV4, user_space=False), marks=LONG),
    Row(1400, black_hole=False, user_space=False),
    pytest.param(Row(1492, Underlay.IPV4, user_space=False), marks=LONG),
    Row(1400, client=StockOpenVPN, user_space=False),
    Row(1280, server=StockOpenVPN, user_space=False),
)
NOT_ECT, ECT1, ECT0, CE = 0, 1, 2, 3
ECN = tuple(product((NOT_ECT, ECT1, ECT0, CE), repeat=2))
NAMES = {NOT_ECT: "Not-ECT", ECT1: "ECT1", ECT0: "ECT0", CE: "CE"}
_UDP = 17


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("kernel-sizes"))


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_every_size_has_the_fate_that_the_rules_give_it(
    lab: Lab, authority: Authority, row: Row
) -> None:
    with fitted(lab, authority, row) as tunnel:
        assert all(_in_kernel(end) for end in (tunnel.server, tunnel.client))
        ours = row.server is Ovpn6 and row.client is Ovpn6
        base = Row(1280, row.outer).rules
        found = wrong_streams(tunnel, (base, row.rules), exact=False)
        tunnel.settle()
        found += wrong_sizes(tunnel)
        found += wrong_streams(tunnel, (row.rules,), exact=ours)
        found += wrong_outer_pieces(tunnel)
    assert found == []


@LONG
@pytest.mark.xfail(
    reason="the kernel's ovpn neither copies the mark to the outer header nor takes it from there"
)
def test_congestion_marks_leave_the_tunnel_as_rfc_6040_says(lab: Lab, authority: Authority) -> None:
    """All 16 combinations; some come out right because nothing is done."""
    with fitted(lab, authority, Row(1500, user_space=False)) as tunnel:
        wrong = []
        for inner, outer in ECN:
            _mark(tunnel.net, outer)
            came = _sent(tunnel.crossing.a, tunnel.crossing.b, inner)
            if came != _expected(inner, outer):
                wrong.append(f"{NAMES[inner]} in {NAMES[outer]}: {came}")
        assert wrong == []


def _expected(inner: int, outer: int) -> int | None:
    """RFC 6040, figure 4; None: dropped."""
    if outer == CE:
        return None if inner == NOT_ECT else CE
    return ECT1 if (inner, outer) == (ECT0, ECT1) else inner


def _mark(net: Narrow, mark: int) -> None:
    words = {NOT_ECT: "not-ect", ECT1: "ect1", ECT0: "ect0", CE: "ce"}
    net.r.nft(
        "table ip6 marks {}\ndelete table ip6 marks\ntable ip6 marks {\nchain f {\n"
        f"type filter hook forward priority 0\nudp dport 1194 ip6 ecn set {words[mark]}\n}}\n}}\n"
    )


def _sent(source: Host, target: Host, mark: int) -> int | None:
    """With which mark a packet arrives; None when it does not."""
    head = (6 << 28 | mark << 20).to_bytes(4, "big") + b"\0\x08" + bytes([_UDP, 64])
    addresses = HOST_A[0].ip.packed + HOST_B[0].ip.packed
    # Ports that nobody has, and no checksum: it is looked at on the wire only.
    list(target.seen())
    source.tap.sendto(
        head + addresses + b"\x12\x34\x12\x35\0\x08\0\0",
        (source.device, 0x86DD, 0, 0, source.gateway),
    )
    found: list[int] = []

    def arrived() -> bool:
        ours = (octets for octets in target.seen() if octets[40:44] == b"\x12\x34\x12\x35")
        found.extend(octets[1] >> 4 & 3 for octets in ours)
        return bool(found)

    try:
        wait_for(arrived, 0.5, "a marked packet")
    except LabTimeout:
        return None
    return found[0]


def _in_kernel(end: Tunnel) -> bool:
    if not isinstance(end, Ovpn6):
        return end.device().kind == "ovpn"
    return re.search(IN_KERNEL, end.log()) is not None
