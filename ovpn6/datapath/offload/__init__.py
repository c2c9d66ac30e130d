"""Packet arithmetic for a TUN with vnet headers: cut super-packets, merge packets, carry marks.

PURE: bytes in, bytes out. The reference for ``ovpn6/datapath/fastpath/{segment,coalesce,ecn}.c``,
which tests compare with it, octet by octet.
"""
