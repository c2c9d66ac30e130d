"""What two ends agree on: peer-info, the options string, the data cipher. PURE.

Source: OpenVPN ``ssl.c`` (push_peer_info), ``ssl.h`` (IV_PROTO bits), ``ssl_ncp.c``, ``options.c``
(options_string).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntFlag

from ovpn6.model.names import Transport
from ovpn6.model.records import dataclass


class IvProto(IntFlag):
    """The capability bits of ``IV_PROTO``."""

    DATA_V2 = 1 << 1
    REQUEST_PUSH = 1 << 2
    TLS_KEY_EXPORT = 1 << 3
    AUTH_PENDING_KEYWORDS = 1 << 4
    NCP_P2P = 1 << 5
    OLD_DNS_OPTION = 1 << 6
    CC_EXIT_NOTIFY = 1 << 7
    AUTH_FAIL_TEMP = 1 << 8
    DYN_TLS_CRYPT = 1 << 9
    DATA_EPOCH = 1 << 10
    DNS_OPTION_V2 = 1 << 11
    PUSH_UPDATE = 1 << 12


CLIENT_IV_PROTO = (
    IvProto.DATA_V2
    | IvProto.REQUEST_PUSH
    | IvProto.TLS_KEY_EXPORT
    | IvProto.AUTH_PENDING_KEYWORDS
    | IvProto.CC_EXIT_NOTIFY
    | IvProto.AUTH_FAIL_TEMP
    | IvProto.DYN_TLS_CRYPT
)
"""What our client can do on every data path."""


NUMBERED_PROBES = "IV_NUMBERED_PROBES"
"""What an end says with the value 1 that answers numbered probes, as every end of ours does."""


@dataclass(frozen=True, slots=True)
class PeerCapabilities:
    """What a client said it can do. ``mtu`` is IV_MTU; ``occ_cipher`` the options string's own."""

    iv_proto: IvProto
    ciphers: tuple[str, ...]
    negotiates_ciphers: bool
    mtu: int | None
    occ_cipher: str
    version: str
    comp_lzo: bool
    comp_stub: bool
    comp_stub_v2: bool
    ecn: bool = False
    """``IV_ECN=1``, of ovpn6 alone: carries congestion marks of outer packets inside."""
    numbered_probes: bool = False
    """``IV_NUMBERED_PROBES=1``, of ovpn6 alone: answers ``numbered_probes.py``."""

    @classmethod
    def parse(cls, peer_info: Mapping[str, str], options: str) -> PeerCapabilities:
        """Read peer-info and options string; what does not parse counts as absent."""
        words = options_words(options)
        listed = peer_info.get("IV_CIPHERS")
        ncp = _number(peer_info.get("IV_NCP")) or 0
        ciphers: tuple[str, ...] = ()
        if listed is not None:
            ciphers = tuple(listed.split(":"))
        elif ncp >= 2:
            ciphers = ("AES-256-GCM", "AES-128-GCM")
        return cls(
            iv_proto=IvProto((_number(peer_info.get("IV_PROTO")) or 0) & _KNOWN_BITS),
            ciphers=ciphers,
            negotiates_ciphers=listed is not None or ncp >= 2,
            mtu=_number(peer_info.get("IV_MTU")),
            occ_cipher=words.get("cipher", ""),
            version=peer_info.get("IV_VER", ""),
            comp_lzo="comp-lzo" in words,
            comp_stub=peer_info.get("IV_COMP_STUB") == "1",
            comp_stub_v2=peer_info.get("IV_COMP_STUBv2") == "1",
            ecn=peer_info.get("IV_ECN") == "1",
            numbered_probes=peer_info.get(NUMBERED_PROBES) == "1",
        )

    def has(self, bits: IvProto) -> bool:
        """Whether every one of ``bits`` is set."""
        return self.iv_proto & bits == bits

    @property
    def data_v2(self) -> bool:
        """Understands P_DATA_V2, that is, a peer id."""
        return self.has(IvProto.DATA_V2)

    @property
    def push_request_optional(self) -> bool:
        """Takes a PUSH_REPLY it did not ask for."""
        return self.has(IvProto.REQUEST_PUSH)

    @property
    def ekm(self) -> bool:
        """Derives data keys by the TLS exporter."""
        return self.has(IvProto.TLS_KEY_EXPORT)

    @property
    def dyn_tls_crypt(self) -> bool:
        """Wraps renegotiations by an exported key."""
        return self.has(IvProto.DYN_TLS_CRYPT)

    @property
    def data_epoch(self) -> bool:
        """Understands the epoch format of data packets."""
        return self.has(IvProto.DATA_EPOCH)

    @property
    def exit_notify(self) -> bool:
        """Says and takes goodbye in the control channel."""
        return self.has(IvProto.CC_EXIT_NOTIFY)

    @property
    def auth_failed_temp(self) -> bool:
        """Understands ``AUTH_FAILED,TEMP``."""
        return self.has(IvProto.AUTH_FAIL_TEMP)

    @property
    def auth_pending(self) -> bool:
        """Understands keywords in ``AUTH_PENDING``."""
        return self.has(IvProto.AUTH_PENDING_KEYWORDS)


def choose_cipher(
    server_ciphers: Iterable[str], peer: PeerCapabilities, fallback: str = ""
) -> str | None:
    """The first of the server's ciphers that the client takes; None when there is none.

    A client without cipher list may take the one of its options string; one without either gets
    ``fallback`` (``data-ciphers-fallback``) when that is set.
    """
    offered = set(peer.ciphers)
    if not peer.ciphers and peer.occ_cipher:
        offered.add(peer.occ_cipher)
    for cipher in server_ciphers:
        if cipher in offered:
            return cipher
    if not peer.ciphers and not peer.occ_cipher and fallback:
        return fallback
    return None


HISTORIC_CIPHER = "BF-CBC"
"""What two equal ends name in their options strings when nobody chose a cipher."""


def options_string(
    *,
    is_server: bool,
    transport: Transport,
    tun_mtu: int,
    tls_auth: bool,
    key_direction: int | None,
    compression: bool = False,
    tunnel: Iterable[str] = (),
    cipher: str = "",
    tcp_server: bool | None = None,
) -> str:
    """Our options string, compared by the peer for warnings only.

    Written as a stock peer with negotiated ciphers would (cipher absent, the digest and key size of
    the historic default), so that a peer with the same settings has nothing to warn of. The
    protocol name is always the IPv4 one.

    Two equal ends write more: ``tunnel`` are words on the tunnel's addresses, ``cipher`` that of
    ends which cannot negotiate, ``tcp_server`` whether the end waits for the connection.
    """
    link_overhead = 21 if transport is Transport.UDP else 23
    if cipher == HISTORIC_CIPHER:
        link_overhead += 20  # two blocks of 8 and a replay id of 4
    words = [
        "V4",
        "dev-type tun",
        f"link-mtu {tun_mtu + link_overhead}",
        f"tun-mtu {tun_mtu}",
        f"proto {_protocol_name(transport, is_server if tcp_server is None else tcp_server)}",
        *tunnel,
    ]
    if compression:
        words.append("comp-lzo")
    if key_direction is not None:
        words.append(f"keydir {key_direction}")
    if cipher:
        words.append(f"cipher {cipher}")
    words += ["auth SHA1", "keysize 128"]
    if tls_auth:
        words.append("tls-auth")
    words += ["key-method 2", "tls-server" if is_server else "tls-client"]
    return ",".join(words)


def options_words(options: str) -> dict[str, str]:
    """The options string as name to value; the version word is left out."""
    words = (word.partition(" ") for word in options.split(",")[1:])
    return {name: value for name, _, value in words}


def client_peer_info(
    *,
    version: str,
    platform: str,
    ciphers: Iterable[str],
    tun_mtu_max: int,
    compression_stubs: bool,
    data_epoch: bool = False,
    ecn: bool = False,
    extra: Iterable[tuple[str, str]] = (),
) -> str:
    """Our peer-info as a pulling client: one ``NAME=value`` a line.

    ``data_epoch``: our data path has the epoch format. ``ecn``: it carries outer marks inside.
    ``extra`` are ``UV_*`` and ``IV_SSO``-like variables of the operator, sent after ours.
    """
    names = tuple(ciphers)
    lines = [
        f"IV_VER={version}",
        f"IV_PLAT={platform}",
        "IV_TCPNL=1",
        f"IV_MTU={tun_mtu_max}",
    ]
    if {"AES-128-GCM", "AES-256-GCM"} <= set(names):
        lines.append("IV_NCP=2")
    iv_proto = CLIENT_IV_PROTO | IvProto.DATA_EPOCH if data_epoch else CLIENT_IV_PROTO
    lines += [f"IV_CIPHERS={':'.join(names)}", f"IV_PROTO={int(iv_proto)}"]
    if compression_stubs:
        lines += ["IV_LZO_STUB=1", "IV_COMP_STUB=1", "IV_COMP_STUBv2=1"]
    if ecn:
        lines.append("IV_ECN=1")
    lines.append(f"{NUMBERED_PROBES}=1")
    lines += [f"{name}={value}" for name, value in extra]
    return "".join(f"{line}\n" for line in lines)


def parse_peer_info(text: str) -> dict[str, str]:
    """Peer-info lines as name to value. Lines with unprintable characters, without ``=``, or whose
    name is not a plain word are left out: names and values reach scripts' environments."""
    info: dict[str, str] = {}
    for line in text.split("\n")[:_MAX_PEER_INFO_LINES]:
        name, equals, value = line.partition("=")
        if equals and line.isprintable() and name.isascii() and name.replace("_", "").isalnum():
            info[name] = value
    return info


_MAX_PEER_INFO_LINES = 64
_KNOWN_BITS = (1 << 31) - 1


def _protocol_name(transport: Transport, is_server: bool) -> str:
    if transport is Transport.UDP:
        return "UDPv4"
    return "TCPv4_SERVER" if is_server else "TCPv4_CLIENT"


def _number(text: str | None) -> int | None:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 10:
        return None
    return int(text)
