"""What flows between the shell and a role: inputs one way, actions the other.

``role.step(input, now) -> [actions]``. Actions are carried out in order. One that the host refused
comes back as :class:`ActionFailed`; slow ones carry a ``JobId`` and answer by their own input.
"""

from __future__ import annotations

from enum import Enum

from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.errors import HostError
from ovpn6.model.names import Family, JobId, KeyId, KeySlot, Level, LinkId, PeerId, Signal
from ovpn6.model.records import dataclass
from ovpn6.model.specs import (
    HostPlan,
    KeyMaterial,
    LinkSpec,
    PeerFit,
    PeerSpec,
    ScriptCall,
    ScriptResult,
)

# --- inputs: what happened ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """The daemon runs, the device exists under ``device``; the first input a role gets."""

    device: str


@dataclass(frozen=True, slots=True)
class Tick:
    """``next_deadline()`` has come."""


@dataclass(frozen=True, slots=True)
class ControlReceived:
    """A datagram that is not a data packet."""

    path: Path
    datagram: bytes


@dataclass(frozen=True, slots=True)
class LinkOpened:
    """``OpenLink`` succeeded; ``local`` is the bound address."""

    link: LinkId
    local: Endpoint


@dataclass(frozen=True, slots=True)
class LinkAccepted:
    """A TCP listener has a new connection, which is ``link`` from now on."""

    listener: LinkId
    link: LinkId
    remote: Endpoint


@dataclass(frozen=True, slots=True)
class LinkClosed:
    """A TCP connection ended, or a socket broke; it is already detached."""

    link: LinkId
    reason: str


@dataclass(frozen=True, slots=True)
class HostResolved:
    """Answer to ``Resolve``: no endpoints when it failed, with ``error`` as the reason."""

    job: JobId
    endpoints: tuple[Endpoint, ...]
    error: str = ""


@dataclass(frozen=True, slots=True)
class ScriptFinished:
    """Answer to ``RunScript``, after any deferral."""

    job: JobId
    result: ScriptResult


@dataclass(frozen=True, slots=True)
class ScriptPending:
    """A deferred script asks to tell the peer to wait: ``auth_pending_file``.

    ``method`` is what the peer must be able to do (one of its ``IV_SSO``), "" when none is named.
    """

    job: JobId
    timeout: int
    text: str
    method: str = ""


@dataclass(frozen=True, slots=True)
class ClientConfigRead:
    """Answer to ``ReadClientConfig``: None when there is no file for the name, nor DEFAULT."""

    job: JobId
    source: str
    text: str | None


@dataclass(frozen=True, slots=True)
class PeerFloated:
    """An authenticated data packet came from a new path, which is now the peer's."""

    peer: PeerId
    path: Path


@dataclass(frozen=True, slots=True)
class FloatConflict:
    """A peer wants to float to a path that ``owner`` holds; nothing was changed."""

    peer: PeerId
    path: Path
    owner: PeerId


@dataclass(frozen=True, slots=True)
class PeerExpired:
    """Nothing was heard of the peer for its keepalive timeout."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class PeerInactive:
    """The peer moved too few bytes for ``inactive``."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class PeerExited:
    """The peer said goodbye in the data channel (OCC exit)."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class KeyWornOut:
    """A key nears its AEAD usage limit: renegotiate."""

    peer: PeerId
    key_id: KeyId


@dataclass(frozen=True, slots=True)
class KeyConfirmed:
    """The first data packet under this key opened: the peer has it."""

    peer: PeerId
    key_id: KeyId


@dataclass(frozen=True, slots=True)
class PacketTooBig:
    """A router says that ``size`` octets of an outer packet would have passed on ``path``.

    ``quoted`` is what it gives back of the UDP payload that did not, maybe nothing. Anybody can
    send this: it is a hint, and worth what the quotation proves.
    """

    path: Path
    size: int
    quoted: bytes


@dataclass(frozen=True, slots=True)
class DeviceLost:
    """The tunnel device went away underneath us; the datapath has stopped reading it."""

    reason: str


@dataclass(frozen=True, slots=True)
class SignalReceived:
    """The operator's wish."""

    signal: Signal


@dataclass(frozen=True, slots=True)
class ActionFailed:
    """The host refused ``action``."""

    action: Action
    error: HostError


Input = (
    Started
    | Tick
    | ControlReceived
    | LinkOpened
    | LinkAccepted
    | LinkClosed
    | HostResolved
    | ScriptFinished
    | ScriptPending
    | ClientConfigRead
    | PeerFloated
    | FloatConflict
    | PeerExpired
    | PeerInactive
    | PeerExited
    | KeyWornOut
    | KeyConfirmed
    | PacketTooBig
    | DeviceLost
    | SignalReceived
    | ActionFailed
)

# --- actions: what to do ------------------------------------------------------------------------


class Outcome(Enum):
    """How a role's life ends."""

    EXIT = "exit"
    RESTART = "restart"
    """Begin again with the same configuration (SIGUSR1)."""
    RELOAD = "reload"
    """Read the configuration again and begin (SIGHUP)."""


@dataclass(frozen=True, slots=True)
class OpenLink:
    """Open an outer socket under the id the role chose."""

    link: LinkId
    spec: LinkSpec


@dataclass(frozen=True, slots=True)
class CloseLink:
    """Close it; no ``LinkClosed`` follows."""

    link: LinkId


@dataclass(frozen=True, slots=True)
class SendControl:
    """Send one control datagram; loss is nobody's error."""

    path: Path
    datagram: bytes


@dataclass(frozen=True, slots=True)
class SendProbe:
    """Send one UDP datagram in one piece or not at all, whatever the host believes of the path.

    ``HostError`` with ``EMSGSIZE`` when the outgoing interface's own MTU is smaller.
    """

    path: Path
    datagram: bytes
    probe: int


@dataclass(frozen=True, slots=True)
class FitPeer:
    """Make the host's sizes for a peer these, whatever they were."""

    fit: PeerFit


@dataclass(frozen=True, slots=True)
class ReleaseFit:
    """Take back what :class:`FitPeer` did; nothing happens for a peer without."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class AddPeer:
    """Make a peer known to the datapath."""

    spec: PeerSpec


@dataclass(frozen=True, slots=True)
class UpdatePeer:
    """Replace everything but ``peer`` and its keys."""

    spec: PeerSpec


@dataclass(frozen=True, slots=True)
class RemovePeer:
    """Forget a peer and its keys."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class InstallKey:
    """Put a key in a slot, over what was there."""

    peer: PeerId
    slot: KeySlot
    key: KeyMaterial


@dataclass(frozen=True, slots=True)
class SwapKeys:
    """PRIMARY and SECONDARY change places: the new key begins to seal, the old one still opens."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class DropKey:
    """Empty a slot."""

    peer: PeerId
    slot: KeySlot


@dataclass(frozen=True, slots=True)
class SendExit:
    """Say goodbye in the data channel (OCC exit)."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class ApplyHost:
    """Make the host's state the plan's."""

    plan: HostPlan


@dataclass(frozen=True, slots=True)
class Resolve:
    """Look a host up; answered by ``HostResolved``."""

    job: JobId
    host: str
    port: int
    family: Family


@dataclass(frozen=True, slots=True)
class RunScript:
    """Run a user's script; answered by ``ScriptFinished``."""

    job: JobId
    call: ScriptCall


@dataclass(frozen=True, slots=True)
class CancelJob:
    """Nobody waits for this job any more."""

    job: JobId


@dataclass(frozen=True, slots=True)
class ReadClientConfig:
    """Read the name's ``client-config-dir`` file, else DEFAULT; answer ``ClientConfigRead``."""

    job: JobId
    common_name: str


@dataclass(frozen=True, slots=True)
class SavePool:
    """Write the pool's persistence file."""

    text: str


@dataclass(frozen=True, slots=True)
class Log:
    """One log line; ``about`` is the peer (``peer 7 [2001:db8::9]:1194``), "" for ourselves."""

    level: Level
    text: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class Announce:
    """The tunnel is up: ``Initialization Sequence Completed``, sd_notify, release of --daemon."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The role is done: tear everything down and exit, restart or reload.

    ``keep_device``: a restart with ``persist-tun`` leaves device, addresses and routes in place.
    """

    outcome: Outcome
    reason: str
    code: int = 0
    keep_device: bool = False


Action = (
    OpenLink
    | CloseLink
    | SendControl
    | SendProbe
    | FitPeer
    | ReleaseFit
    | AddPeer
    | UpdatePeer
    | RemovePeer
    | InstallKey
    | SwapKeys
    | DropKey
    | SendExit
    | ApplyHost
    | Resolve
    | RunScript
    | CancelJob
    | ReadClientConfig
    | SavePool
    | Log
    | Announce
    | Finish
)
