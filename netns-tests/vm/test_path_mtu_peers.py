"""OpenVPN 2.7 and OpenVPN 3 answer our probes of the path, in every wrap, on this machine's kernel.

The path is narrow and nobody says so.
"""

from __future__ import annotations

import pytest
from interop.ends import client_text, make_authority, remote_of, server_text

from ovpn6.lab import Lab, Ovpn6, Underlay, wait_for
from ovpn6.lab.narrow import Narrow, narrow
from ovpn6.pki.authority import Authority
from ovpn6.pki.profile import Wrap
from vm.openvpn3 import OpenVPN3
from vm.openvpn3 import why_missing as why_no_openvpn3
from vm.openvpn27 import StockOpenVPN27
from vm.root import why_missing

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(why_missing()), reason=why_missing() or "never"),
]
WRAPS = pytest.mark.parametrize("wrap", list(Wrap), ids=lambda wrap: wrap.value)
FOUND = r"path MTU 1400 \(probe\)"
CONVERGED = 15.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("path-mtu-peers"))


@pytest.fixture
def net(lab: Lab) -> Narrow:
    return narrow(lab, Underlay.IPV6, path=1400, black_hole=True)


@WRAPS
def test_openvpn_2_7_as_client_answers_probes(
    net: Narrow, authority: Authority, wrap: Wrap
) -> None:
    server = Ovpn6(net.b, server_text(authority, wrap=wrap))
    server.wait_up()
    client = StockOpenVPN27(net.a, client_text(authority, remote_of(net.line), wrap=wrap))
    client.wait_up()
    server.process.wait_for_log(FOUND, CONVERGED)


@WRAPS
def test_openvpn_2_7_as_server_answers_probes(
    net: Narrow, authority: Authority, wrap: Wrap
) -> None:
    server = StockOpenVPN27(net.b, server_text(authority, wrap=wrap))
    server.wait_up()
    client = Ovpn6(net.a, client_text(authority, remote_of(net.line), wrap=wrap))
    client.wait_up()
    client.process.wait_for_log(FOUND, CONVERGED)


@pytest.mark.skipif(bool(why_no_openvpn3()), reason=why_no_openvpn3() or "never")
@WRAPS
def test_openvpn_3_answers_probes_and_goes_on_after_new_keys(
    net: Narrow, authority: Authority, wrap: Wrap
) -> None:
    """It comes up over a wide path: with tls-crypt-v2 its first flight, the client key behind it,
    is longer than 1400 octets."""
    net.set_path(1500)
    quick = ("reneg-sec 6", "path-mtu-timers 0.2 1 600")
    server = Ovpn6(net.b, server_text(authority, *quick, wrap=wrap))
    server.wait_up()
    client = OpenVPN3(net.a, client_text(authority, remote_of(net.line), wrap=wrap))
    client.wait_up()
    net.set_path(1400)
    server.process.wait_for_log(FOUND, CONVERGED)
    wait_for(
        lambda: client.log().count("SSL Handshake: ") > 1,
        30,
        "a renegotiation in the client's log",
        [server.process, client.process],
    )
    row = server.status().client("client")
    assert row is not None
    sent = int(row.columns["Probes Sent"])

    def more_without_loss() -> bool:
        now = server.status().client("client")
        return now is not None and int(now.columns["Probes Sent"]) > sent + 3

    wait_for(more_without_loss, 20, "confirmations under the new key", [server.process])
    now = server.status().client("client")
    assert now is not None
    assert now.columns["Path MTU"] == "1400"
    assert client.log().count("EVENT: CONNECTED") == 1
