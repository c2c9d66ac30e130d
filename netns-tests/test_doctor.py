"""``ovpn6 doctor`` where it is known what is wrong."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from interop.ends import (
    OURS_OURS,
    SERVER_4,
    SERVER_6,
    UP,
    client_text,
    make_authority,
    remote_of,
    server_text,
    start,
)

from ovpn6.lab import Lab, Namespace, Narrow, Ovpn6, Underlay, narrow, wait_for
from ovpn6.mtu.overhead import Encapsulation
from ovpn6.pki.authority import Authority

pytestmark = pytest.mark.root

A_6, B_6, B_4 = "2001:db8:c::2", "2001:db8:5::2", "198.51.100.2"
R_6, Q_6 = "2001:db8:90::1", "2001:db8:90::2"
R_NEAR_A = "2001:db8:c::1"
RULE = "icmpv6 type packet-too-big drop"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("doctor"))


def ask(namespace: Namespace, *words: str) -> tuple[int, dict[str, Any]]:
    """The exit code and what is said as JSON."""
    command = [sys.executable, "-P", "-m", "ovpn6", "doctor", *words, "--json"]
    done = namespace.run(command, check=False, limit=90)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def codes(said: dict[str, Any], weight: str = "problem") -> list[str]:
    return [finding["code"] for finding in said["findings"] if finding["weight"] == weight]


@pytest.mark.parametrize(("families", "peer"), [(Underlay.IPV6, B_6), (Underlay.IPV4, B_4)])
def test_a_wide_path_is_healthy(lab: Lab, families: Underlay, peer: str) -> None:
    net = narrow(lab, families)
    code, said = ask(net.a, "--peer", peer)
    assert (code, said["healthy"], codes(said)) == (0, True, [])
    (path,) = said["paths"]
    assert (path["largest"], path["lost"], path["fragments"]) == (1500, None, True)


@pytest.mark.parametrize(("families", "peer"), [(Underlay.IPV6, B_6), (Underlay.IPV4, B_4)])
def test_a_narrow_path_whose_router_says_so_is_healthy(
    lab: Lab, families: Underlay, peer: str
) -> None:
    net = narrow(lab, families, path=1437)
    code, said = ask(net.a, "--peer", peer)
    assert (code, codes(said)) == (0, [])
    (path,) = said["paths"]
    assert (path["largest"], path["lost"], path["told"]["mtu"]) == (1437, 1438, 1437)


@pytest.mark.parametrize(("families", "peer"), [(Underlay.IPV6, B_6), (Underlay.IPV4, B_4)])
def test_a_black_hole_is_found_to_the_octet_and_named(
    lab: Lab, families: Underlay, peer: str
) -> None:
    net = narrow(lab, families, path=1437, black_hole=True)
    code, said = ask(net.a, "--peer", peer)
    assert (code, codes(said)) == (1, ["black-hole"])
    (path,) = said["paths"]
    assert (path["largest"], path["lost"], path["told"]) == (1437, 1438, None)
    # IPv4 answers may be cut by routers: the way back shows nothing there.
    way = "both ways" if families is Underlay.IPV6 else "on the way there"
    assert way in said["findings"][0]["what"]
    routers = (R_NEAR_A, Q_6) if families is Underlay.IPV6 else ("192.0.2.1", "192.0.2.130")
    assert (path["hole"]["reached"], path["hole"]["beyond"]) == routers


def test_which_way_the_hole_lies_is_told(lab: Lab) -> None:
    net = narrow(lab, black_hole=True)
    # Only what comes from q is cut: an interface takes more than it sends.
    net.q.set_up("to-r", mtu=1400)
    code, said = ask(net.a, "--peer", B_6)
    assert (code, codes(said)) == (1, ["black-hole"])
    assert "on the way back" in said["findings"][0]["what"]
    code, said = ask(net.b, "--peer", A_6)
    assert "on the way there" in said["findings"][0]["what"]


def test_fragments_that_are_dropped_matter_where_1280_octets_need_them(lab: Lab) -> None:
    net = narrow(lab, path=1300)
    net.drop_fragments(on=True)
    code, said = ask(net.a, "--peer", B_6)
    assert (code, codes(said)) == (1, ["fragments-dropped"])
    net.set_path(1500)
    code, said = ask(net.a, "--peer", B_6)
    assert (code, codes(said, "note")) == (0, ["fragments-dropped"])


def test_the_filter_that_eats_icmp_is_named(ipv6_narrow: Narrow) -> None:
    a = ipv6_narrow.a
    a.nft(f"table inet mine {{\nchain in {{\ntype filter hook input priority 0\n{RULE}\n}}\n}}")
    code, said = ask(a, "--peer", B_6)
    assert (code, codes(said)) == (1, ["icmp-filtered"])
    assert "table inet mine chain in" in said["findings"][0]["what"]


def test_someone_who_does_not_answer_is_no_illness(ipv6_narrow: Narrow) -> None:
    ipv6_narrow.b.sysctl({"net.ipv6.icmp.echo_ignore_all": "1"})
    code, said = ask(ipv6_narrow.a, "--peer", B_6)
    assert (code, codes(said, "note")) == (0, ["no-answer"])


def test_both_families_inside_a_tunnel_are_swept(ipv6_narrow: Narrow, authority: Authority) -> None:
    ends = start(ipv6_narrow.line, authority, OURS_OURS)
    code, said = ask(ipv6_narrow.a, str(ends.client.config_path))
    assert (code, codes(said)) == (0, []), said
    assert [path["target"] for path in said["paths"]] == [B_6, SERVER_6, SERVER_4]
    assert all(path["answered"] for path in said["paths"])
    assert [each["mss"] for each in said["segments"]] == [1360, 1380]


def test_a_tunnel_over_a_black_hole_is_well_inside(lab: Lab, authority: Authority) -> None:
    net = narrow(lab, path=1400, black_hole=True)
    status = lab.directory / "status.json"
    lines = (f"status {status} 1", "status-version json")
    config = lab.directory / "server.conf"
    config.write_text(server_text(authority, *lines))
    server = net.b.popen([sys.executable, "-P", "-m", "ovpn6", str(config)], "server")
    server.wait_for_log(UP)
    client = Ovpn6(net.a, client_text(authority, remote_of(net.line)))
    client.wait_up()
    for end in (server, client.process):
        end.wait_for_log(r"path MTU 1400 \(probe\)")
    wait_for(lambda: '"mtu": 1400' in status.read_text(), 10, "the path in the status", [server])
    fits = 1400 - Encapsulation(6, epoch=True).overhead
    for end, words in ((net.a, client.config_path), (net.b, config)):
        code, said = ask(end, str(words))
        assert (code, codes(said)) == (1, ["black-hole"]), said
        inside = [path for path in said["paths"] if path["place"] == "inner"]
        assert [path["largest"] for path in inside] == [fits, fits]
        # What is larger the host itself refuses, by a route's MTU or by the device's.
        assert all(path["told"] in (None, {"by": None, "mtu": fits}) for path in inside)
        assert [each["mss"] for each in said["segments"]] == [fits - 60, fits - 40]
    (peer,) = said["peers"]
    assert (peer["outer"], peer["path"], peer["tunnel"]) == (A_6, 1400, fits)


def test_a_tunnel_without_ipv6_is_an_illness(ipv6_narrow: Narrow, authority: Authority) -> None:
    ends = start(ipv6_narrow.line, authority, OURS_OURS)
    name = ends.client.device().name
    ipv6_narrow.a.sysctl({f"net.ipv6.conf.{name}.disable_ipv6": "1"})
    code, said = ask(ipv6_narrow.a, str(ends.client.config_path))
    assert code == 1
    assert "ipv6-disabled" in codes(said)


def test_the_page_for_people_says_where_and_what_to_do(lab: Lab) -> None:
    net = narrow(lab, path=1400, black_hole=True)
    command = [sys.executable, "-P", "-m", "ovpn6", "doctor", "--peer", B_6]
    done = net.a.run(command, check=False, limit=90)
    assert done.returncode == 1
    for words in (B_6, "1400", "vanishes behind", R_NEAR_A, "let ICMPv6 type 2"):
        assert words in done.stdout


@pytest.mark.parametrize("words", [["--peer", "nobody"], ["/nonexistent"], ["--what"]])
def test_what_is_not_understood_ends_with_2(ipv6_narrow: Narrow, words: list[str]) -> None:
    command = [sys.executable, "-P", "-m", "ovpn6", "doctor", *words]
    done = ipv6_narrow.a.run(command, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr
