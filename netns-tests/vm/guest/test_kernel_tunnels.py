"""Daemons whose data channel is in the kernel, beside OpenVPN 2.7 with its offload and without."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from interop.ends import (
    INNER,
    OURS_OURS,
    OURS_STOCK,
    STOCK_OURS,
    Ends,
    Maker,
    Pairing,
    make_authority,
    start,
)
from interop.streams import Stream

from ovpn6.lab import Lab, Line, Underlay, line, ping, transfer, wait_for, wait_reachable
from ovpn6.pki.authority import Authority
from ovpn6.pki.profile import Wrap

pytestmark = pytest.mark.root

IN_KERNEL = r"data path: kernel \(ovpn\): .*the ovpn module carries data packets"
IN_USER_SPACE = r"data path: user space \([^)]+\): (.*)"
UNDERLAYS = {
    "udp6": ("udp", Underlay.IPV6),
    "udp4": ("udp", Underlay.IPV4),
    "tcp6": ("tcp", Underlay.IPV6),
}
RENEGOTIATIONS = 3
RENEGOTIATION_LIMIT = 60.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("kernel"))


@dataclass(frozen=True, slots=True)
class Case:
    """A tunnel. ``begins``: which end begins renegotiations; ``elsewhere``: which one, if any, has
    its data channel in user space."""

    pairing: Pairing
    underlay: str
    wrap: Wrap
    begins: str
    elsewhere: str = ""

    def __str__(self) -> str:
        place = f"-{self.elsewhere}-in-user-space" if self.elsewhere else ""
        return f"{self.pairing}-{self.underlay}-{self.wrap.value}-{self.begins}-begins{place}"

    def extra(self, end: str) -> list[str]:
        """What ``end`` has in its configuration for it."""
        # OpenVPN counts whole seconds, and forgets the key before the last when it begins.
        interval = 3 if self.pairing is OURS_OURS else 4
        if self.begins not in (end, "both"):
            interval = 0
        # A second number tells OpenVPN's server not to spread its times.
        spread = f" {interval}" if end == "server" else ""
        place = ["disable-dco"] if self.elsewhere == end else []
        return [f"reneg-sec {interval}{spread}", *place]


LONG = pytest.mark.long
CASES = (
    Case(OURS_OURS, "udp6", Wrap.TLS_CRYPT, "server"),
    pytest.param(Case(OURS_OURS, "udp6", Wrap.TLS_AUTH, "client"), marks=LONG),
    Case(OURS_STOCK, "udp6", Wrap.TLS_AUTH, "server"),
    Case(STOCK_OURS, "udp6", Wrap.TLS_CRYPT_V2, "server"),
    Case(OURS_STOCK, "udp6", Wrap.TLS_CRYPT, "client", elsewhere="client"),
    pytest.param(
        Case(STOCK_OURS, "udp6", Wrap.TLS_CRYPT, "server", elsewhere="server"), marks=LONG
    ),
    Case(OURS_OURS, "udp4", Wrap.TLS_CRYPT_V2, "both"),
    pytest.param(Case(OURS_STOCK, "udp4", Wrap.TLS_CRYPT_V2, "client"), marks=LONG),
    pytest.param(Case(STOCK_OURS, "udp4", Wrap.TLS_AUTH, "client"), marks=LONG),
    Case(OURS_OURS, "tcp6", Wrap.TLS_CRYPT, "server"),
    pytest.param(Case(OURS_STOCK, "tcp6", Wrap.TLS_AUTH, "client"), marks=LONG),
    Case(STOCK_OURS, "tcp6", Wrap.TLS_CRYPT_V2, "server"),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_both_families_pass_and_new_keys_lose_nothing(
    lab: Lab, authority: Authority, case: Case
) -> None:
    transport, families = UNDERLAYS[case.underlay]
    ends = start(
        line(lab, families),
        authority,
        case.pairing,
        transport=transport,
        wrap=case.wrap,
        server_extra=case.extra("server"),
        client_extra=case.extra("client"),
    )
    kinds = {"server": ends.server.device().kind, "client": ends.client.device().kind}
    expected = {end: "tun" if end == case.elsewhere else "ovpn" for end in kinds}
    assert kinds == expected
    makers = {"server": case.pairing.server, "client": case.pairing.client}
    for name, end in (("server", ends.server), ("client", ends.client)):
        if makers[name] is Maker.OURS and name != case.elsewhere:
            assert re.search(IN_KERNEL, end.log())
    with Stream(ends) as six, Stream(ends, family=4) as four:
        wait_for(
            lambda: ends.client.log().count("Control Channel: TLS") > RENEGOTIATIONS,
            RENEGOTIATION_LIMIT,
            f"{RENEGOTIATIONS} renegotiations in the client's log",
            [ends.server.process, ends.client.process],
        )
        results = six.result(), four.result()
    assert [result.lost for result in results] == [0, 0], results
    assert ends.client.log().count("Initialization Sequence Completed") == 1
    check_both_ways(ends)
    row = ends.client_row()
    assert row.bytes_received > 0
    assert row.bytes_sent > 0
    for end in (ends.client, ends.server):
        assert end.stop() == 0
    assert ends.net.client.tunnels() == ends.net.server.tunnels() == ()


@pytest.mark.parametrize(
    ("line_of_config", "reason"),
    [("disable-dco", "disable-dco is set"), ("comp-lzo no", "comp-lzo and compress")],
)
def test_what_needs_user_space_is_named_and_works(
    lab: Lab, authority: Authority, line_of_config: str, reason: str
) -> None:
    extra = (line_of_config,)
    net = line(lab, Underlay.IPV6)
    ends = start(net, authority, OURS_OURS, server_extra=extra, client_extra=extra)
    for end in (ends.server, ends.client):
        found = re.search(IN_USER_SPACE, end.log())
        assert found is not None
        assert found[1].startswith(reason)
        assert end.device().kind == "tun"
    check_both_ways(ends)


@pytest.mark.parametrize("role", ["server", "client"])
def test_a_killed_daemon_leaves_a_device_that_its_next_start_removes(
    lab: Lab, authority: Authority, role: str
) -> None:
    ends = start(line(lab, Underlay.IPV6), authority, OURS_OURS, server_extra=("keepalive 1 4",))
    victim = ends.server if role == "server" else ends.client
    old = victim.device()
    victim.namespace.run(["ip", "link", "add", "bystander", "type", "ovpn"])
    victim.process.kill()
    assert old.name in [device.name for device in victim.namespace.tunnels()]
    victim.restart()
    victim.wait_up()
    assert re.search(rf"removed {old.name}, whose process died", victim.log())
    for address in INNER:
        wait_reachable(ends.net.client, address, 30)
    victim.namespace.run(["ip", "link", "delete", "bystander"])
    for end in (ends.client, ends.server):
        assert end.stop() == 0
    assert ends.net.client.tunnels() == ends.net.server.tunnels() == ()


def check_both_ways(ends: Ends) -> None:
    """Pings of both families both ways and an intact transfer in each."""
    net: Line = ends.net
    for address in INNER:
        wait_reachable(net.client, address)
        assert ping(net.client, address).complete, address
        assert transfer(net.client, net.server, address), address
    for address in ends.inner_addresses():
        assert ping(net.server, address).complete, address
