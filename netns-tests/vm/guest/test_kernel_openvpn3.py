"""OpenVPN 3's client, whose data channel is in user space, at our server's in the kernel."""

from __future__ import annotations

import re

import pytest
from interop.ends import INNER, Ends, client_text, make_authority, remote_of, server_text
from vm.guest.test_kernel_tunnels import IN_KERNEL, UNDERLAYS, check_both_ways
from vm.openvpn3 import OpenVPN3, why_missing

from ovpn6.lab import Lab, Line, Ovpn6, line, wait_for, wait_reachable
from ovpn6.model.ciphers import CIPHERS
from ovpn6.pki.authority import Authority
from ovpn6.pki.profile import Wrap

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(why_missing()), reason=why_missing() or "never"),
]

RENEGOTIATE = ("reneg-sec 30",)
"""A second one before OpenVPN 3 seals with the new key leaves it without any, at any server."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("openvpn3"))


def start(
    net: Line,
    authority: Authority,
    transport: str = "udp",
    *,
    server_extra: tuple[str, ...] = (),
    wrap: Wrap = Wrap.TLS_CRYPT,
    ciphers: tuple[str, ...] = ("AES-256-GCM",),
) -> Ends:
    """Our server and their client, both up; the data channel of ours is in the kernel."""
    protocol = f"{transport}{net.server_address.version}"
    config = server_text(authority, *server_extra, protocol=protocol, wrap=wrap, ciphers=ciphers)
    server = Ovpn6(net.server, config)
    server.wait_up()
    client = OpenVPN3(net.client, client_text(authority, remote_of(net, transport), wrap=wrap))
    client.wait_up()
    server.process.wait_for_log(IN_KERNEL)
    assert server.device().kind == "ovpn"
    return Ends(net, server, client)


@pytest.mark.parametrize("underlay", UNDERLAYS)
def test_both_families_pass(lab: Lab, authority: Authority, underlay: str) -> None:
    transport, families = UNDERLAYS[underlay]
    ends = start(line(lab, families), authority, transport)
    check_both_ways(ends)
    row = ends.client_row()
    assert row.cipher == "AES-256-GCM"
    assert row.bytes_received > 0
    assert row.bytes_sent > 0
    ends.client.stop()
    wait_for(lambda: not ends.server.status().clients, 10, "a status without clients")
    assert ends.server.stop() == 0
    assert ends.net.server.tunnels() == ()


@pytest.mark.parametrize("wrap", [Wrap.TLS_CRYPT_V2, Wrap.TLS_AUTH], ids=lambda wrap: wrap.value)
def test_both_families_pass_with_the_other_wraps(
    lab: Lab, authority: Authority, wrap: Wrap
) -> None:
    check_pings(start(line(lab), authority, wrap=wrap))


@pytest.mark.parametrize("cipher", [name for name in CIPHERS if name != "AES-256-GCM"])
def test_every_cipher_passes(lab: Lab, authority: Authority, cipher: str) -> None:
    ends = start(line(lab), authority, ciphers=(cipher,))
    check_pings(ends)
    assert ends.client_row().cipher == cipher


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_renegotiation_that_our_server_begins_goes_through(
    lab: Lab, authority: Authority, transport: str
) -> None:
    """OpenVPN 3 sends nothing for a second or two of each, whoever the server is."""
    ends = start(line(lab), authority, transport, server_extra=RENEGOTIATE)
    wait_for(
        lambda: ends.client.log().count("SSL Handshake: ") > 1,
        60,
        "a renegotiation in the client's log",
        [ends.server.process, ends.client.process],
    )
    check_pings(ends)
    assert ends.client.log().count("EVENT: CONNECTED") == 1
    assert not re.search("renegotiation .* failed", ends.server.log())


def check_pings(ends: Ends) -> None:
    """Both families, both ways."""
    for address in INNER:
        wait_reachable(ends.net.client, address)
    for address in ends.inner_addresses():
        wait_reachable(ends.net.server, address)
