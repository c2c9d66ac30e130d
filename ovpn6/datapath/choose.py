"""Which data path a daemon gets, and why. One line of it goes to the log.

The kernel first, then user space: tables say what only user space can do, and what one of the two
kernel modules lacks. Ours, ``ovpn6`` (``kmod/``), comes before Linux' own, ``ovpn``, which alone is
asked for where ``kernel-module`` says so. In user space the native worker comes first, then Python.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from ovpn6.datapath.fastpath import CAPABILITIES as NATIVE
from ovpn6.datapath.fastpath import describe, unavailable
from ovpn6.datapath.interface import Capabilities, Datapath, ReportSink
from ovpn6.datapath.kernel import CAPABILITIES as KERNELS
from ovpn6.datapath.kernel import KernelDatapath
from ovpn6.datapath.kernel_open import no_module, open_kernel
from ovpn6.datapath.offload.switch import refused
from ovpn6.datapath.ovpn_netlink.family import check_permission, find_family
from ovpn6.datapath.ovpn_netlink.messages import FAMILY, OWN_FAMILY
from ovpn6.datapath.userspace import CAPABILITIES as USERSPACE
from ovpn6.datapath.userspace import UserspaceDatapath, UserspaceOptions
from ovpn6.model.errors import HostError
from ovpn6.model.names import LinkId
from ovpn6.model.records import dataclass
from ovpn6.netlink.conversation import GENERIC, Conversation

NET_DEVICES = Path("/sys/class/net")
MODULES = (OWN_FAMILY, FAMILY)
"""In the order in which they are tried."""
INSTALL = "ours: make -C kmod deb, for DKMS"
DEFAULT_REPLAY = (64, 15)


@dataclass(frozen=True, slots=True)
class Demands:
    """What of a configuration bears on the choice; names are those of the directives."""

    disable_dco: bool = False
    kernel_module: str = OWN_FAMILY
    """Tried first, then those behind it in ``MODULES``."""
    over_tcp: bool = False
    """A peer may come by TCP."""
    compression_stub: bool = False
    """``comp-lzo no``, ``compress stub``: a byte before each inner packet."""
    bind_device: str = ""
    passtos: bool = False
    label_flows: bool = False
    ciphers: tuple[str, ...] = USERSPACE.ciphers
    device: str = "tun"
    replay_window: tuple[int, int] = DEFAULT_REPLAY
    epoch_usage: int | None = None
    workers: int | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen: its capabilities are known before anything is opened. ``notices``: lines
    about settings that have no effect there."""

    capabilities: Capabilities
    reason: str
    notices: tuple[str, ...] = ()

    @property
    def is_kernel(self) -> bool:
        """Whether data packets stay in the kernel."""
        return is_kernel(self.capabilities)

    def __str__(self) -> str:
        return f"data path: {self.capabilities.name}: {self.reason}"


@dataclass(frozen=True, slots=True)
class KernelOptions:
    """``many_peers``: a server. ``route_protocol``: the ``rtm_protocol`` of our routes."""

    many_peers: bool
    route_protocol: int


def probe_kernel(name: str) -> str:
    """Why a kernel module cannot be used, "" when it can. Asking makes the kernel load it.

    ``name``: of its netlink family.
    """
    try:
        conversation = Conversation(GENERIC)
    except HostError as error:
        return str(error)
    try:
        family = find_family(conversation, name)
        if family is None:
            return no_module(name)
        check_permission(conversation, family)
    except HostError as error:
        if error.errno == errno.EPERM:
            return f"the kernel's {name} module wants CAP_NET_ADMIN {_ALLOWED[name]}"
        return str(error)
    finally:
        conversation.close()
    return ""


def choose(
    demands: Demands,
    probe: Callable[[str], str] = probe_kernel,
    devices: Path = NET_DEVICES,
    environment: Mapping[str, str] = os.environ,
) -> Choice:
    """The data path for a configuration on this host.

    ``probe`` says why a module cannot be used; it is asked when nothing else decides.
    ``environment`` may turn the native worker off. Raises ``HostError`` when it names what is none.
    """
    reason = _no_kernel(demands, devices)
    if not reason:
        names = MODULES[MODULES.index(demands.kernel_module) :]
        reasons: list[str] = []
        for name in names:
            lacking = _lacks(demands, name) or probe(name)
            if not lacking:
                reasons.append(f"the {name} module carries data packets")
                return Choice(KERNELS[name], "; ".join(reasons), _notices(demands))
            reasons.append(lacking)
        if reasons == [no_module(name) for name in MODULES]:
            reasons[-1] += f" ({INSTALL})"
        reason = "; ".join(reasons)
    without = refused(environment)
    lacking = unavailable(without)
    if lacking:
        return Choice(USERSPACE, f"{reason}; {lacking}")
    return Choice(NATIVE, reason, (describe(without),))


def is_kernel(capabilities: Capabilities) -> bool:
    """Whether this is the data path in the kernel."""
    return _module_of(capabilities) is not None


def open_datapath(
    choice: Choice,
    report: ReportSink,
    loop: asyncio.AbstractEventLoop,
    entropy: Callable[[int], bytes],
    options: UserspaceOptions,
    kernel: KernelOptions,
    new_link_id: Callable[[], LinkId],
) -> Datapath:
    """The chosen data path, with nothing open yet."""
    if choice.capabilities is NATIVE:
        # What may not have been built.
        from ovpn6.datapath.fastpath.datapath import FastpathDatapath

        return FastpathDatapath(report, loop, options, new_link_id)
    name = _module_of(choice.capabilities)
    if name is None:
        return UserspaceDatapath(report, loop, entropy, options, new_link_id)
    return KernelDatapath(
        report,
        loop,
        lambda spec: open_kernel(
            spec, many_peers=kernel.many_peers, route_protocol=kernel.route_protocol, name=name
        ),
        new_link_id,
        many_peers=kernel.many_peers,
        name=name,
    )


def _module_of(capabilities: Capabilities) -> str | None:
    """Which module this is the data path of."""
    return next((name for name, one in KERNELS.items() if one is capabilities), None)


def _no_kernel(demands: Demands, devices: Path) -> str:
    """Why no data path in the kernel is for this configuration, "" when one may be."""
    for demand, reason in _ONLY_IN_USER_SPACE:
        if demand(demands):
            return reason
    if (devices / demands.device / "tun_flags").exists():
        return f"{demands.device} is a TUN device"
    return ""


def _lacks(demands: Demands, name: str) -> str:
    """Why one module is not for this configuration, "" when it is."""
    for demand, reason in _LACKING[name]:
        if demand(demands):
            return reason
    return ""


_ONLY_IN_USER_SPACE: tuple[tuple[Callable[[Demands], bool], str], ...] = (
    (lambda demands: demands.disable_dco, "disable-dco is set"),
    (
        lambda demands: demands.compression_stub,
        "comp-lzo and compress put a byte before each packet, which the kernel cannot",
    ),
    (
        lambda demands: demands.passtos,
        "passtos copies the DSCP to outer packets, which the kernel cannot",
    ),
    (
        lambda demands: demands.label_flows,
        "flow-label flow labels outer packets by inner flow, which the kernel cannot",
    ),
    (
        lambda demands: not set(demands.ciphers) & set(KERNELS[FAMILY].ciphers),
        "the kernel has none of data-ciphers",
    ),
)
_LACKING: dict[str, tuple[tuple[Callable[[Demands], bool], str], ...]] = {
    FAMILY: (
        (
            # It routes outer packets without regard to the device that the socket is bound to.
            lambda demands: bool(demands.bind_device),
            "bind-dev binds a socket, which the ovpn module does not heed",
        ),
    ),
    OWN_FAMILY: (
        (lambda demands: demands.over_tcp, "the ovpn6 module carries no data over TCP yet"),
    ),
}
_ALLOWED = {
    FAMILY: "outside of any user namespace",
    OWN_FAMILY: "in the user namespace of the network namespace",
}


def _notices(demands: Demands) -> tuple[str, ...]:
    notices = []
    if demands.replay_window != DEFAULT_REPLAY:
        notices.append("replay-window has no effect: the kernel's own window is 2048 packets")
    if demands.epoch_usage is not None:
        notices.append("epoch-keys has no effect: the kernel has one key a negotiation")
    if demands.workers is not None:
        notices.append("workers has no effect: the kernel divides the work itself")
    return tuple(notices)
