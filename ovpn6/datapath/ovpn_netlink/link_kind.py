"""The rtnetlink link kind ``ovpn``: what stands in ``IFLA_INFO_DATA`` when a device is made.

In pyroute2's style for ``pyroute2.netlink.rtnl.ifinfmsg.plugins``; there it is registered with::

    ifinfmsg.ifinfo.register_link_kind(module={"ovpn": ovpn})
    IPRoute().link("add", ifname="tun0", kind="ovpn", ovpn_mode=MODE_MP)

Source: ``enum ovpn_mode`` and ``IFLA_OVPN_*`` of ``linux/if_link.h`` (Linux 6.16). The mode cannot
be changed later; a device without one is point to point.
"""

from __future__ import annotations

from ovpn6.netlink.parts import nla

MODE_P2P, MODE_MP = 0, 1
"""One peer that gets every packet, or many that are found by their addresses in the tunnel."""


class ovpn(nla):  # type: ignore[misc]
    """``IFLA_OVPN_MODE``: u8, :data:`MODE_P2P` or :data:`MODE_MP`."""

    __slots__ = ()
    prefix = "IFLA_"
    nla_map = (("IFLA_OVPN_UNSPEC", "none"), ("IFLA_OVPN_MODE", "uint8"))
