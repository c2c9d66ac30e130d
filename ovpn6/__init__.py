"""ovpn6: an OpenVPN-compatible tunnel daemon for networks where IPv6 comes first."""

__version__ = "0.1.0"
