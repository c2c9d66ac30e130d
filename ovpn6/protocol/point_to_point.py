"""What two equal ends agree on, and what they tell each other of differences. PURE.

Neither end pushes: each draws the same conclusions from both peer-infos. Source: OpenVPN
``ssl_ncp.c`` (p2p_mode_ncp, get_p2p_ncp_cipher), ``ssl.c`` (push_peer_info), ``options.c``
(options_warning_safe).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ovpn6.model.ciphers import CIPHERS
from ovpn6.model.errors import PeerError
from ovpn6.model.names import NO_PEER_ID, PeerId
from ovpn6.model.records import dataclass
from ovpn6.model.specs import DataFormat
from ovpn6.protocol.key_derivation import EKM_PEER_ID_LABEL
from ovpn6.protocol.negotiation_rules import (
    NUMBERED_PROBES,
    IvProto,
    PeerCapabilities,
    choose_cipher,
)

IV_PROTO = (
    IvProto.DATA_V2
    | IvProto.TLS_KEY_EXPORT
    | IvProto.NCP_P2P
    | IvProto.CC_EXIT_NOTIFY
    | IvProto.DYN_TLS_CRYPT
)
"""What one of two equal ends can do on every data path."""

FIXED_PEER_ID = 0x76706E
"""The peer id where it cannot be exported."""

_UNCOMPARED = ("key-method", "keydir", "proto", "tls-auth", "tun-ipv6", "cipher")


class Disagreement(PeerError):
    """The two ends have nothing in common that a tunnel could be made of."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both ends do. ``control_exit``: goodbye is said in the control channel. ``copy_ecn``:
    each carries congestion marks of outer packets inside, so inner ones may go outside.
    ``numbered_probes``: the peer answers those."""

    cipher: str
    peer: PeerId
    use_ekm: bool
    dynamic_tls_crypt: bool
    control_exit: bool
    data_format: DataFormat = DataFormat.CLASSIC
    copy_ecn: bool = False
    numbered_probes: bool = False

    def __str__(self) -> str:
        return (
            f"P2P mode NCP negotiation result: TLS_export={int(self.use_ekm)}, DATA_v2=1, "
            f"peer-id {self.peer}, cipher={self.cipher}"
        )


def agree(
    ciphers: Sequence[str],
    fallback: str,
    peer: PeerCapabilities,
    export: Callable[[str, int], bytes],
    *,
    is_server: bool,
    data_epoch: bool = False,
    ecn: bool = False,
) -> Agreement:
    """From our ciphers and the peer's abilities. ``export`` gives keying material of the session;
    ``fallback`` is ``data-ciphers-fallback``; ``data_epoch``: our data path has the epoch format;
    ``ecn``: it carries outer marks inside. Raises ``Disagreement``."""
    if not peer.has(IvProto.NCP_P2P | IvProto.DATA_V2):
        raise Disagreement(
            "the peer does not negotiate as one of two equal ends, so its data packets would be of "
            "version 1, which is not supported: it is older than OpenVPN 2.6, or it is a server "
            "with clients (write `client` here) or pulls (make it `tls-client` alone)"
        )
    peer_id = FIXED_PEER_ID
    if peer.ekm:
        peer_id = int.from_bytes(export(EKM_PEER_ID_LABEL, 3), "big")
    if peer_id == NO_PEER_ID:
        raise Disagreement("the session's peer id came out as the one that means none")
    return Agreement(
        cipher=_cipher(ciphers, fallback, peer, is_server=is_server),
        peer=PeerId(peer_id),
        use_ekm=peer.ekm,
        dynamic_tls_crypt=peer.dyn_tls_crypt,
        control_exit=peer.exit_notify,
        data_format=(
            DataFormat.EPOCH
            if data_epoch and peer.ekm and peer.has(IvProto.DATA_EPOCH)
            else DataFormat.CLASSIC
        ),
        copy_ecn=ecn and peer.ecn,
        numbered_probes=peer.numbered_probes,
    )


def peer_info(
    ciphers: Iterable[str],
    extra: Iterable[tuple[str, str]] = (),
    *,
    data_epoch: bool = False,
    ecn: bool = False,
) -> str:
    """Our peer-info in either part: one ``NAME=value`` a line."""
    bits = IV_PROTO | IvProto.DATA_EPOCH if data_epoch else IV_PROTO
    pairs = [("IV_CIPHERS", ":".join(ciphers)), ("IV_PROTO", str(int(bits)))]
    if ecn:
        pairs.append(("IV_ECN", "1"))
    pairs.append((NUMBERED_PROBES, "1"))
    return "".join(f"{name}={value}\n" for name, value in (*pairs, *extra))


def differences(expected: str, actual: str) -> list[str]:
    """Lines about the peer's options string against the one that fits ours; what OpenVPN does not
    compare is left out."""
    ours, theirs = _words(expected), _words(actual)
    lines = []
    for name, word in ours.items():
        if name not in theirs:
            lines.append(_missing(name, "local", "remote", word))
        elif theirs[name] != word:
            lines.append(
                f"WARNING: '{name}' is used inconsistently, local='{word}', remote='{theirs[name]}'"
            )
    return lines + [
        _missing(name, "remote", "local", word) for name, word in theirs.items() if name not in ours
    ]


def _cipher(
    ciphers: Sequence[str], fallback: str, peer: PeerCapabilities, *, is_server: bool
) -> str:
    """By the order of the end in the server's part."""
    first, second = (ciphers, peer.ciphers) if is_server else (peer.ciphers, ciphers)
    common = next((cipher for cipher in first if cipher in second), None)
    chosen = common or (choose_cipher((fallback,), peer, fallback) if fallback in CIPHERS else None)
    if chosen is None:
        raise Disagreement(
            f"no common cipher: data-ciphers here are {':'.join(ciphers)}, there "
            f"{':'.join(peer.ciphers) or 'unknown'}"
        )
    return chosen


def _words(options: str) -> dict[str, str]:
    words = [f"version {options.partition(',')[0]}", *options.split(",")[1:]]
    named = {word.partition(" ")[0]: word for word in words if word}
    return {name: word for name, word in named.items() if name not in _UNCOMPARED}


def _missing(name: str, here: str, there: str, word: str) -> str:
    return (
        f"WARNING: '{name}' is present in {here} config but missing in {there} config, "
        f"{here}='{word}'"
    )
