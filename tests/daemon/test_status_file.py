"""The status file, column by column."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path as FilePath

import pytest

from ovpn6.config.schema import STATUS_JSON
from ovpn6.daemon.status_facts import StatusFacts
from ovpn6.daemon.status_file import StatusFile, real_address, status_text
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.errors import HostError
from ovpn6.model.names import Instant, LinkId, PeerId
from ovpn6.model.specs import PeerCounters
from ovpn6.model.status import PathStatus, PeerStatus, RoleStatus

NOW = 1_795_367_503
CONNECTED = NOW - 60
SIZES = PathStatus(1400, 1328, "probe", Instant(42.0), sent=9, lost=4, numbered=True)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def peer(name: str = "alice", remote: str = "2001:db8::9") -> PeerStatus:
    address = IPv6Address(remote) if ":" in remote else IPv4Address(remote)
    return PeerStatus(
        peer=PeerId(7),
        common_name=name,
        username="",
        path=Path(LinkId(1), Endpoint(address, 40_000)),
        ipv4=IPv4Address("10.8.0.2"),
        ipv6=IPv6Address("2001:db8:1::2"),
        cipher="AES-256-GCM",
        connected=Instant(40.0),
        routes=(ip_network("2001:db8:1::2/128"), ip_network("2001:db8:77::/48")),
        sizes=SIZES,
    )


def facts(*peers: PeerStatus, is_server: bool = True) -> StatusFacts:
    return StatusFacts(
        role=RoleStatus(is_server, "CONNECTED", peers, {}),
        counters={PeerId(7): PeerCounters(link_in=100, link_out=200, bytes_in=10, bytes_out=20)},
        unix_time=float(NOW),
        wall_offset=CONNECTED - 40.0,
        title="ovpn6 0.1.0",
        fragments={PeerId(7): 6},
    )


def test_version_1() -> None:
    assert status_text(facts(peer()), 1).splitlines() == [
        "OpenVPN CLIENT LIST",
        "Updated,2026-11-22 17:11:43",
        "Common Name,Real Address,Bytes Received,Bytes Sent,Connected Since",
        "alice,2001:db8::9,100,200,2026-11-22 17:10:43",
        "ROUTING TABLE",
        "Virtual Address,Common Name,Real Address,Last Ref",
        "10.8.0.2,alice,2001:db8::9,2026-11-22 17:10:43",
        "2001:db8:1::2,alice,2001:db8::9,2026-11-22 17:10:43",
        "2001:db8:77::/48,alice,2001:db8::9,2026-11-22 17:10:43",
        "GLOBAL STATS",
        "Max bcast/mcast queue length,0",
        "END",
    ]


@pytest.mark.parametrize(("version", "separator"), [(2, ","), (3, "\t")])
def test_versions_2_and_3(version: int, separator: str) -> None:
    rows = [line.split(separator) for line in status_text(facts(peer()), version).splitlines()]
    assert rows[0] == ["TITLE", "ovpn6 0.1.0"]
    assert rows[1] == ["TIME", "2026-11-22 17:11:43", str(NOW)]
    header, row = rows[2], rows[3]
    assert header[:2] == ["HEADER", "CLIENT_LIST"]
    assert dict(zip(header[2:], row[1:], strict=True)) == {
        "Common Name": "alice",
        "Real Address": "2001:db8::9",
        "Virtual Address": "10.8.0.2",
        "Virtual IPv6 Address": "2001:db8:1::2",
        "Bytes Received": "100",
        "Bytes Sent": "200",
        "Connected Since": "2026-11-22 17:10:43",
        "Connected Since (time_t)": str(CONNECTED),
        "Username": "UNDEF",
        "Client ID": "7",
        "Peer ID": "7",
        "Data Channel Cipher": "AES-256-GCM",
        "Path MTU": "1400",
        "Tunnel MTU": "1328",
        "Path MTU Learned From": "probe",
        "Path MTU Since (time_t)": str(CONNECTED + 2),
        "Probes Sent": "9",
        "Probes Lost": "4",
        "Outer Fragments": "6",
    }
    # Whoever counts columns as OpenVPN writes them finds those first.
    assert header[13] == "Data Channel Cipher"
    assert rows[4][:3] == ["HEADER", "ROUTING_TABLE", "Virtual Address"]
    assert rows[7] == [
        "ROUTING_TABLE",
        "2001:db8:77::/48",
        "alice",
        "2001:db8::9",
        "2026-11-22 17:10:43",
        str(CONNECTED),
    ]
    assert rows[-2:] == [["GLOBAL_STATS", "dco_enabled", "0"], ["END"]]


def test_a_path_that_is_not_found_out_has_empty_columns() -> None:
    sizes = PathStatus(None, 1420, "configuration", Instant(42.0))
    rows = status_text(facts(replace(peer(), sizes=sizes)), 2).splitlines()
    assert rows[3].split(",")[13:17] == ["", "1420", "configuration", str(CONNECTED + 2)]
    rows = status_text(facts(replace(peer(), sizes=None)), 2).splitlines()
    assert len(rows[2].split(",")) == len(rows[3].split(",")) + 1


def test_a_clients_path_is_in_version_2_and_3() -> None:
    plain, more = (
        status_text(facts(peer(), is_server=False), version).splitlines() for version in (1, 2)
    )
    assert [line for line in more if line not in plain] == [
        "Path MTU,1400",
        "Tunnel MTU,1328",
        "Path MTU Learned From,probe",
        f"Path MTU Since (time_t),{CONNECTED + 2}",
        "Probes Sent,9",
        "Probes Lost,4",
        "Outer Fragments,6",
    ]


@pytest.mark.parametrize("is_server", [True, False])
def test_json_has_it_all(is_server: bool) -> None:
    shown = json.loads(status_text(facts(peer("a\n,b"), is_server=is_server), STATUS_JSON))
    assert (shown["is_server"], shown["updated"]) == (is_server, NOW)
    [row] = shown["peers"]
    assert row["common_name"] == "a\n,b"
    assert row["connected"] == CONNECTED
    assert row["path"] == {
        "mtu": 1400,
        "tunnel_mtu": 1328,
        "learned": "probe",
        "since": CONNECTED + 2,
        "probes_sent": 9,
        "probes_lost": 4,
        "numbered_probes": True,
        "outer_fragments": 6,
    }


def test_a_client_shows_its_traffic() -> None:
    assert status_text(facts(peer(), is_server=False), 1).splitlines() == [
        "OpenVPN STATISTICS",
        "Updated,2026-11-22 17:11:43",
        "TUN/TAP read bytes,20",
        "TUN/TAP write bytes,10",
        "TCP/UDP read bytes,100",
        "TCP/UDP write bytes,200",
        "Auth read bytes,10",
        "END",
    ]


def test_a_name_cannot_add_columns_or_lines() -> None:
    lines = status_text(facts(peer("evil,1\nEND")), 2).splitlines()
    assert lines[3].startswith("CLIENT_LIST,evil_1_END,")


def test_ports_are_shown_for_ipv4_only() -> None:
    assert real_address(peer(remote="192.0.2.1").path.remote) == "192.0.2.1:40000"
    assert real_address(peer().path.remote) == "2001:db8::9"


def test_the_file_is_private_and_holds_the_last_text_only(tmp_path: FilePath) -> None:
    path = tmp_path / "status"
    file = StatusFile(path)
    file.write("a longer text\n")
    file.write("short\n")
    assert path.read_text() == "short\n"
    assert path.stat().st_mode & 0o777 == 0o600
    file.close()


def test_a_file_that_cannot_be_made_is_a_host_error(tmp_path: FilePath) -> None:
    with pytest.raises(HostError):
        StatusFile(tmp_path / "no" / "status")


def test_fragments_that_nobody_counts_are_not_none() -> None:
    unknown = replace(facts(peer()), fragments={PeerId(7): None})
    assert ",Outer Fragments\n" in status_text(unknown, 2)
    (row,) = (line for line in status_text(unknown, 2).splitlines() if line.startswith("CLIENT"))
    assert row.endswith(",4,")
    assert (
        json.loads(status_text(unknown, STATUS_JSON))["peers"][0]["path"]["outer_fragments"] is None
    )
