"""What the guest's kernel and programs can do, before anything of ours is tested on them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from interop.ends import INNER, STOCK_STOCK, make_authority, start
from pyroute2 import NetNS
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from ovpn6.datapath.ovpn_netlink.link_kind import MODE_MP, MODE_P2P, ovpn
from ovpn6.lab import Lab, Underlay, line, ping, transfer
from ovpn6.lab.process import run

pytestmark = pytest.mark.root


@pytest.fixture(scope="module", autouse=True)
def _ovpn_module() -> None:
    run(["modprobe", "ovpn"])


def test_the_ovpn_module_is_loaded() -> None:
    assert Path("/sys/module/ovpn").is_dir()


@pytest.mark.parametrize("mode", [MODE_P2P, MODE_MP], ids=["p2p", "mp"])
def test_an_ovpn_device_can_be_made_by_netlink(lab: Lab, mode: int) -> None:
    namespace = lab.namespace("device")
    ifinfmsg.ifinfo.register_link_kind(module={"ovpn": ovpn})
    with NetNS(namespace.full_name, flags=0) as netlink:
        netlink.link("add", ifname="ovpn0", kind="ovpn", ovpn_mode=mode)
        (message,) = netlink.link("get", ifname="ovpn0")
        assert message.get(("linkinfo", "data", "ovpn_mode")) == mode
    assert namespace.device("ovpn0").kind == "ovpn"


def test_openvpn_2_7_hands_its_data_channel_to_the_kernel(lab: Lab, tmp_path: Path) -> None:
    net = line(lab, Underlay.IPV6)
    ends = start(net, make_authority(tmp_path), STOCK_STOCK)
    for end in (ends.server, ends.client):
        assert re.search(r"OpenVPN 2\.7\.", end.log())
        assert re.search(r"DCO device \S+ opened", end.log())
        assert end.device().kind == "ovpn"
    for address in INNER:
        assert ping(net.client, address).complete, address
        assert transfer(net.client, net.server, address), address
    for address in ends.inner_addresses():
        assert ping(net.server, address).complete, address


def test_openvpn_2_7_without_offload_uses_a_tun_device(lab: Lab, tmp_path: Path) -> None:
    net = line(lab, Underlay.IPV6)
    extra = ("disable-dco",)
    ends = start(net, make_authority(tmp_path), STOCK_STOCK, server_extra=extra, client_extra=extra)
    for end in (ends.server, ends.client):
        assert end.device().kind == "tun"
    for address in INNER:
        assert ping(net.client, address).complete, address


def test_netem_delays_and_loses(lab: Lab) -> None:
    net = line(lab, Underlay.IPV6)
    address = net.server_address
    before = ping(net.client, address, count=5)
    net.client.run(["tc", "qdisc", "add", "dev", "to-underlay", "root", "netem", "delay", "100ms"])
    delayed = ping(net.client, address, count=5)
    assert before.complete
    assert delayed.complete
    assert before.milliseconds is not None
    assert delayed.milliseconds is not None
    assert delayed.milliseconds > before.milliseconds + 90
    net.client.run(["tc", "qdisc", "change", "dev", "to-underlay", "root", "netem", "loss", "100%"])
    assert ping(net.client, address, count=2).received == 0
