"""Status files of version 2."""

from __future__ import annotations

import pytest

from ovpn6.lab.errors import LabError
from ovpn6.lab.status import parse_status

TEXT = """\
TITLE,OpenVPN 2.6.14 x86_64-pc-linux-gnu
TIME,2026-11-22 17:50:07,1795362607
HEADER,CLIENT_LIST,Common Name,Real Address,Virtual Address,Virtual IPv6 Address,Bytes Received,\
Bytes Sent,Connected Since,Connected Since (time_t),Username,Client ID,Peer ID,Data Channel Cipher
CLIENT_LIST,laptop,2001:db8:c::2,10.86.0.2,fd42::1000,3105,3010,2026-11-22 17:50:06,1795362606,\
UNDEF,0,0,AES-256-GCM
CLIENT_LIST,phone,192.0.2.7:4711,,,12,34,2026-11-22 17:50:06,1795362606,UNDEF,1,1,
HEADER,ROUTING_TABLE,Virtual Address,Common Name,Real Address,Last Ref,Last Ref (time_t)
ROUTING_TABLE,fd42::1000,laptop,2001:db8:c::2,2026-11-22 17:50:06,1795362606
GLOBAL_STATS,Max bcast/mcast queue length,0
END
"""


def test_clients_are_read_by_the_names_in_the_header() -> None:
    status = parse_status(TEXT)
    laptop = status.client("laptop")
    assert laptop is not None
    assert laptop.real_address == "2001:db8:c::2"
    assert (laptop.ipv6, laptop.ipv4) == ("fd42::1000", "10.86.0.2")
    assert laptop.cipher == "AES-256-GCM"
    assert (laptop.bytes_received, laptop.bytes_sent) == (3105, 3010)
    assert laptop.columns["Peer ID"] == "0"


def test_a_client_without_addresses_has_empty_ones() -> None:
    phone = parse_status(TEXT).client("phone")
    assert phone is not None
    assert (phone.ipv6, phone.ipv4, phone.cipher) == ("", "", "")


def test_title_and_routes_are_read() -> None:
    status = parse_status(TEXT)
    assert status.title == "OpenVPN 2.6.14 x86_64-pc-linux-gnu"
    assert [row["Virtual Address"] for row in status.routes] == ["fd42::1000"]


def test_an_unknown_name_is_nobody() -> None:
    assert parse_status(TEXT).client("nobody") is None


def test_an_empty_file_has_no_clients() -> None:
    assert parse_status("").clients == ()


@pytest.mark.parametrize(
    "text",
    ["CLIENT_LIST,laptop\n", "HEADER,CLIENT_LIST,Common Name,Real Address\nCLIENT_LIST,laptop\n"],
)
def test_rows_that_no_header_explains_are_refused(text: str) -> None:
    with pytest.raises(LabError, match="header"):
        parse_status(text)
