"""User names and passwords: scripts that decide, refusals that arrive, tokens that replace them."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from interop import wire
from interop.ends import (
    OUR_SERVER,
    OURS_OURS,
    OURS_STOCK,
    PAIRINGS,
    SERVER_6,
    UP,
    Ends,
    Pairing,
    client_text,
    make_authority,
    remote_of,
    server_text,
    up_again,
)
from interop.streams import Stream

from ovpn6.lab import Lab, Line, Tunnel, ping, star, wait_for, wait_reachable
from ovpn6.pki.authority import Authority
from ovpn6.pki.profile import RemoteLine

pytestmark = pytest.mark.root

AUTH_FAILED_CODE = 0
"""A client that is refused for good ends, and OpenVPN calls that a clean end."""

VERIFY = {
    "via-env": """#!/bin/sh
echo "$username" >> {calls}
test "$username:$password" = alice:secret
""",
    "via-file": """#!/bin/sh
{{ read -r username; read -r password; }} < "$1"
echo "$username" >> {calls}
test "$username:$password" = alice:secret
""",
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("passwords"))


class Gate:
    """A server's password script, and what it was called with."""

    def __init__(self, directory: Path, body: str, method: str = "via-env") -> None:
        self._calls = directory / "calls"
        self._calls.touch()
        script = directory / "verify"
        script.write_text(body.format(calls=self._calls))
        script.chmod(0o755)
        self.lines = (
            # 3 lets a password into a script's environment.
            "script-security 3",
            f"auth-user-pass-verify {script} {method}",
        )

    def calls(self) -> list[str]:
        """The user name of each call, in order."""
        return self._calls.read_text().split()


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path, VERIFY["via-env"])


def _password(directory: Path, user: str, password: str) -> str:
    """The client's line for a file with this user name and password."""
    file = directory / f"{user}.txt"
    file.write_text(f"{user}\n{password}\n")
    file.chmod(0o600)
    return f"auth-user-pass {file}"


def _start_server(net: Line, authority: Authority, pairing: Pairing, *lines: str) -> Tunnel:
    server = pairing.server.start(net.server, server_text(authority, *lines), "server")
    server.wait_up()
    return server


def _start_client(
    net: Line, authority: Authority, pairing: Pairing, *lines: str, name: str = "client"
) -> Tunnel:
    text = client_text(authority, remote_of(net), *lines, name=name)
    return pairing.client.start(net.client, text, name)


@pytest.mark.parametrize("method", VERIFY)
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_the_right_password_opens_the_tunnel(
    ipv6_line: Line, authority: Authority, tmp_path: Path, pairing: Pairing, method: str
) -> None:
    gate = Gate(tmp_path, VERIFY[method], method)
    server = _start_server(ipv6_line, authority, pairing, *gate.lines)
    client = _start_client(ipv6_line, authority, pairing, _password(tmp_path, "alice", "secret"))
    client.wait_up()
    assert ping(ipv6_line.client, SERVER_6).complete
    assert gate.calls() == ["alice"]
    row = Ends(ipv6_line, server, client).client_row()
    assert row.columns["Username"] == "alice"


@pytest.mark.parametrize("method", VERIFY)
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_a_wrong_password_ends_the_client_and_not_the_server(
    ipv6_line: Line, authority: Authority, tmp_path: Path, pairing: Pairing, method: str
) -> None:
    gate = Gate(tmp_path, VERIFY[method], method)
    _start_server(ipv6_line, authority, pairing, *gate.lines)
    bad = _start_client(ipv6_line, authority, pairing, _password(tmp_path, "alice", "guess"))
    assert bad.process.wait(20) == AUTH_FAILED_CODE
    assert "AUTH_FAILED" in bad.log()
    assert UP not in bad.log()
    assert "guess" not in bad.log()
    good = _start_client(
        ipv6_line, authority, pairing, _password(tmp_path, "alice", "secret"), name="other"
    )
    good.wait_up()
    assert ping(ipv6_line.client, SERVER_6).complete


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_a_client_that_may_retry_gets_in_once_the_server_takes_its_password(
    ipv6_line: Line, authority: Authority, tmp_path: Path, pairing: Pairing
) -> None:
    open_door = Gate(tmp_path, "#!/bin/sh\ntest -e {calls}.verdict\n")
    _start_server(ipv6_line, authority, pairing, *open_door.lines)
    line = _password(tmp_path, "alice", "secret")
    client = _start_client(ipv6_line, authority, pairing, line, "auth-retry nointeract")
    client.process.wait_for_log("AUTH_FAILED")
    _decide(tmp_path, "yes")
    client.wait_up()
    assert ping(ipv6_line.client, SERVER_6).complete


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_client_without_a_password_is_refused(
    ipv6_line: Line, authority: Authority, gate: Gate, pairing: Pairing
) -> None:
    server = _start_server(ipv6_line, authority, pairing, *gate.lines)
    client = _start_client(ipv6_line, authority, pairing)
    server.process.wait_for_log(r"(?i)password was not provided|no user name")
    assert UP not in client.log()
    assert gate.calls() == []


@pytest.mark.parametrize("ending", ["exit 1", "exit 77", "kill -9 $$"])
@pytest.mark.parametrize("pairing", [OURS_STOCK, OURS_OURS], ids=str)
def test_a_script_that_fails_in_any_way_refuses(
    ipv6_line: Line, authority: Authority, tmp_path: Path, pairing: Pairing, ending: str
) -> None:
    broken = Gate(tmp_path, f"#!/bin/sh\n{ending}\n")
    server = _start_server(ipv6_line, authority, pairing, *broken.lines)
    client = _start_client(ipv6_line, authority, pairing, _password(tmp_path, "alice", "secret"))
    client.process.wait_for_log("AUTH_FAILED")
    assert UP not in client.log()
    assert server.process.running


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_the_reason_a_script_gives_reaches_the_client(
    ipv6_line: Line, authority: Authority, tmp_path: Path, pairing: Pairing
) -> None:
    body = '#!/bin/sh\necho "closed for lunch" > "$auth_failed_reason_file"\nexit 1\n'
    _start_server(ipv6_line, authority, pairing, *Gate(tmp_path, body).lines)
    client = _start_client(ipv6_line, authority, pairing, _password(tmp_path, "alice", "secret"))
    client.process.wait_for_log("AUTH_FAILED,closed for lunch")


# --- answers that take their time ---

DEFERRED = """#!/bin/sh
( while ! test -e {calls}.verdict; do sleep 0.05; done
  cat {calls}.verdict > "$auth_control_file" ) > /dev/null 2>&1 < /dev/null &
echo "$username" >> {calls}
exit 2
"""


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_deferred_yes_opens_the_tunnel(
    ipv6_line: Line, authority: Authority, tmp_path: Path, pairing: Pairing
) -> None:
    gate, client = _deferred(ipv6_line, authority, tmp_path, pairing)
    assert UP not in client.log()
    _decide(tmp_path, "1")
    client.wait_up()
    assert ping(ipv6_line.client, SERVER_6).complete
    assert gate.calls() == ["alice"]


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_deferred_no_refuses(
    ipv6_line: Line, authority: Authority, tmp_path: Path, pairing: Pairing
) -> None:
    _, client = _deferred(ipv6_line, authority, tmp_path, pairing)
    _decide(tmp_path, "0")
    client.process.wait_for_log("AUTH_FAILED")
    assert UP not in client.log()


def _deferred(
    net: Line, authority: Authority, tmp_path: Path, pairing: Pairing
) -> tuple[Gate, Tunnel]:
    """A client whose password is being thought about."""
    gate = Gate(tmp_path, DEFERRED)
    server = _start_server(net, authority, pairing, *gate.lines)
    client = _start_client(net, authority, pairing, _password(tmp_path, "alice", "secret"))
    wait_for(gate.calls, 10, "a call of the script", [server.process, client.process])
    client.process.wait_for_log("Peer Connection Initiated")
    return gate, client


def _decide(tmp_path: Path, verdict: str) -> None:
    new = tmp_path / "new"
    new.write_text(verdict)
    new.rename(tmp_path / "calls.verdict")


SLOW = """#!/bin/sh
echo "$username" >> {calls}
test "$username" = alice || while ! test -e {calls}.verdict; do sleep 0.05; done
"""


# OpenVPN's own server stands still while such a script runs.
@pytest.mark.parametrize("pairing", [OURS_STOCK, OURS_OURS], ids=str)
def test_a_slow_script_for_one_client_does_not_hold_up_another(
    lab: Lab, authority: Authority, tmp_path: Path, pairing: Pairing
) -> None:
    net = star(lab, 2)
    gate = Gate(tmp_path, SLOW)
    remote = RemoteLine(str(net.server_address), protocol="udp6")
    server = pairing.server.start(net.server, server_text(authority, *gate.lines), "server")
    server.wait_up()
    quick = pairing.client.start(
        net.clients[0],
        client_text(authority, remote, _password(tmp_path, "alice", "secret")),
        "quick",
    )
    quick.wait_up()
    as_line = Line(lab, net.clients[0], net.underlay, net.server, (), net.server_addresses)
    with Stream(Ends(as_line, server, quick)) as stream:
        slow = pairing.client.start(
            net.clients[1],
            client_text(authority, remote, _password(tmp_path, "bob", "x"), name="other"),
            "slow",
        )
        wait_for(lambda: "bob" in gate.calls(), 10, "the slow call", [server.process])
        # 40 answers, 50 ms apart: two seconds while the script waits.
        assert ping(net.clients[0], SERVER_6, count=40).complete
        assert UP not in slow.log()
        _decide(tmp_path, "")
        slow.wait_up()
        result = stream.result()
    wait_reachable(net.clients[1], SERVER_6)
    assert result.lost == 0, result
    assert max(result.to_server.longest_gap, result.to_client.longest_gap) < 1, result


# --- tokens ---


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_a_token_replaces_the_password_at_renegotiations_and_reconnects(
    ipv6_line: Line, authority: Authority, tmp_path: Path, gate: Gate, pairing: Pairing
) -> None:
    net = ipv6_line
    lines = (*gate.lines, "reneg-sec 3", "hand-window 10", "auth-gen-token 600 20")
    with wire.watch(net) as capture:
        _start_server(net, authority, pairing, *lines)
        client = _start_client(net, authority, pairing, _password(tmp_path, "alice", "secret"))
        client.wait_up()
        _wait_renegotiations(net, capture, 2)
        with up_again(client):
            client.process.signal(signal.SIGUSR1)
        _wait_renegotiations(net, capture, 3)
        assert ping(net.client, SERVER_6).complete
    assert gate.calls() == ["alice"]
    assert "SESS_ID_AT_" not in client.log().replace("auth-token SESS_ID_AT_[redacted]", "")


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_a_token_that_ran_out_brings_the_password_back(
    ipv6_line: Line, authority: Authority, tmp_path: Path, gate: Gate, pairing: Pairing
) -> None:
    net = ipv6_line
    lines = (*gate.lines, "reneg-sec 3", "hand-window 10", "auth-gen-token 5 20")
    server = _start_server(net, authority, pairing, *lines)
    client = _start_client(
        net,
        authority,
        pairing,
        _password(tmp_path, "alice", "secret"),
        "auth-retry nointeract",
    )
    client.wait_up()
    position = len(client.log())
    client.process.wait_for_log(UP, limit=30, after=position)
    assert ping(net.client, SERVER_6).complete
    assert gate.calls() == ["alice", "alice"]
    assert server.process.running


def _wait_renegotiations(net: Line, capture: wire.Capture, count: int) -> None:
    def keep_talking() -> bool:
        # Data under the new key shows that it is agreed on.
        ping(net.client, SERVER_6, count=1)
        return len(wire.renegotiations(wire.packets(capture))) >= count

    wait_for(keep_talking, 20, f"{count} renegotiations")
