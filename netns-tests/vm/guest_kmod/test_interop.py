"""OpenVPN 2.7 with its offload on our module, beside everybody it may meet, and new keys meanwhile.

For OpenVPN our module is the kernel's own (``compat=1``): nothing in its configuration names it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from interop.ends import INNER, Ends, client_text, make_authority, remote_of, server_text
from interop.streams import Stream
from vm import openvpn3, openvpn26
from vm.gate_kernel import is_gate
from vm.openvpn3 import OpenVPN3
from vm.openvpn26 import StockOpenVPN26

from ovpn6.lab import (
    Lab,
    Ovpn6,
    StockOpenVPN,
    Tunnel,
    Underlay,
    line,
    transfer,
    wait_for,
    wait_reachable,
)
from ovpn6.pki.authority import Authority

pytestmark = [
    pytest.mark.root,
    # On the module's side they are all one: test_tunnels.py stands for them on that slow kernel.
    pytest.mark.skipif(is_gate(os.uname().release), reason="a matrix of programs, not of kernels"),
]

OCTETS = 200_000
RENEGOTIATION_LIMIT = 90.0


@dataclass(frozen=True, slots=True)
class Program:
    """What may be at an end. ``kind``: of its device. ``new_keys``: what its log has once for each
    negotiation."""

    name: str
    runner: Callable[..., Tunnel]
    kind: str
    extra: tuple[str, ...] = ()
    new_keys: str = "Control Channel: TLS"
    missing: str = ""

    def __str__(self) -> str:
        return self.name


OFFLOAD = Program("openvpn27", StockOpenVPN, "ovpn")
OURS = Program("ovpn6", Ovpn6, "ovpn", ("kernel-module ovpn",))
"""By the name that stock programs use; :mod:`.test_tunnels` has it by its own."""
USER_SPACE = Program("openvpn27-in-user-space", StockOpenVPN, "tun", ("disable-dco",))
OLDER = Program("openvpn26", StockOpenVPN26, "tun", missing=openvpn26.why_missing())
CORE = Program(
    "openvpn3", OpenVPN3, "tun", new_keys="SSL Handshake: ", missing=openvpn3.why_missing()
)


@dataclass(frozen=True, slots=True)
class Case:
    """A tunnel, and after how many seconds its server begins a negotiation; it forgets the key
    before the last when it begins another one."""

    server: Program
    client: Program
    underlay: Underlay
    seconds: int = 10

    def __str__(self) -> str:
        return f"{self.server}-server-{self.client}-client-{self.underlay.name.lower()}"

    @property
    def missing(self) -> str:
        """Why it cannot be had here, else empty."""
        return self.server.missing or self.client.missing

    @property
    def keeps_sending(self) -> bool:
        """OpenVPN 3 sends nothing for a second or two of each, whoever the server is."""
        return CORE not in (self.server, self.client)

    @property
    def loses_at_the_server(self) -> bool:
        """Where one end is in the kernel and one in user space, the client seals with new keys
        before OpenVPN's process at the server has them in place, by tenths of a second on a busy
        machine. So it is with mainline's module, where the server is the one in the kernel."""
        return self.server.kind != self.client.kind


CASES = (
    Case(OFFLOAD, USER_SPACE, Underlay.IPV6),
    Case(USER_SPACE, OFFLOAD, Underlay.IPV4),
    Case(OFFLOAD, OLDER, Underlay.IPV4),
    Case(OLDER, OFFLOAD, Underlay.IPV6),
    # A second negotiation before it seals with the first one's key leaves it without any.
    Case(OFFLOAD, CORE, Underlay.IPV6, seconds=30),
    Case(OFFLOAD, OURS, Underlay.IPV6),
    Case(OURS, OFFLOAD, Underlay.IPV4),
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("interop"))


def started(lab: Lab, authority: Authority, case: Case) -> Ends:
    """Both ends up, each with the device that it should have."""
    net = line(lab, case.underlay)
    server = case.server.runner(
        net.server,
        server_text(
            authority,
            # The second number: OpenVPN's server does not spread its times.
            f"reneg-sec {case.seconds} {case.seconds}",
            *case.server.extra,
            protocol=f"udp{net.server_address.version}",
        ),
        name="server",
    )
    server.wait_up()
    own = client_text(authority, remote_of(net), "reneg-sec 0", *case.client.extra)
    client = case.client.runner(net.client, own, name="client")
    client.wait_up()
    for program, end in ((case.server, server), (case.client, client)):
        assert end.device().kind == program.kind, end.process.describe()
    return Ends(net, server, client)


def wait_for_new_keys(ends: Ends, case: Case) -> None:
    """Until the client has negotiated once more."""
    before = ends.client.log().count(case.client.new_keys)
    wait_for(
        lambda: ends.client.log().count(case.client.new_keys) > before,
        RENEGOTIATION_LIMIT,
        "a negotiation in the client's log",
        [ends.server.process, ends.client.process],
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_both_families_cross_and_so_they_do_with_new_keys(
    lab: Lab, authority: Authority, case: Case
) -> None:
    if case.missing:
        pytest.skip(case.missing)
    check(lab, authority, case)


def check(lab: Lab, authority: Authority, case: Case) -> None:
    """A tunnel carries both families, before, while and after there are new keys."""
    ends = started(lab, authority, case)
    if case.keeps_sending:
        with Stream(ends) as six, Stream(ends, family=4) as four:
            wait_for_new_keys(ends, case)
            results = six.result(), four.result()
        for result in results:
            assert result.to_client.lost == 0, results
            allowed = result.to_server.sent // 2 if case.loses_at_the_server else 0
            assert result.to_server.lost <= allowed, results
    else:
        wait_for_new_keys(ends, case)
    check_both_ways(ends)


def check_both_ways(ends: Ends) -> None:
    """Everybody is reached, and an intact transfer of each family. There may be new keys meanwhile,
    so one ping may be lost."""
    for address in INNER:
        wait_reachable(ends.net.client, address)
        assert transfer(ends.net.client, ends.net.server, address, OCTETS), address
    for address in ends.inner_addresses():
        wait_reachable(ends.net.server, address)
