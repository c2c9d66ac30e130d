"""IP forwarding: which settings to write, in which order, and how to put them back.

IPv4 decides by the incoming interface (``conf/<interface>/forwarding``), so each interface and
``default`` (for those to come) is set, and ``ip_forward`` is left alone. Nothing is done when
``conf/all/forwarding`` is already 1: then the operator has decided.

IPv6 does the same with ``force_forwarding`` where the kernel has it (Linux 6.17). It does not make
the host a router, so router advertisements are still obeyed. Older kernels forward only with
``conf/all/forwarding``, and that has two costs which are met here:

* Turning it on removes every default route learned from a router advertisement, and none is
  accepted again, on each interface with ``accept_ra`` 1 (``ip-sysctl``: 1 is "if forwarding is
  disabled"). So ``accept_ra`` becomes 2 ("even if forwarding") there *before* forwarding goes on,
  and 1 again *after* it is off. The default route of the underlay survives both ways.
* It writes to the ``forwarding`` of every interface, so those that were 1 are put back to 1.

A setting that somebody changed after us keeps its value. One that another live instance needs as
well is left for that one to restore, with the value from before either.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ovpn6.netconf.ledger import Setting
from ovpn6.netconf.namespace import Namespace

_CONF = {4: "net/ipv4/conf", 6: "net/ipv6/conf"}


def needed_settings(
    namespace: Namespace,
    version: int,
    inherited: Mapping[str, Setting],
    interface_knob: str | None = None,
) -> tuple[Setting, ...]:
    """What to write, in order, so that packets of IP ``version`` are forwarded.

    ``inherited`` are the settings that other live instances hold. ``interface_knob`` overrides the
    setting used for each interface; "" takes the way of older kernels.
    """
    conf = _CONF[version]
    if interface_knob is None:
        interface_knob = _interface_knob(namespace, version)
    everywhere = f"{conf}/all/forwarding"
    if namespace.read_setting(everywhere) == "1" and everywhere not in inherited:
        return ()
    interfaces = [name for name in namespace.setting_names(conf) if name != "all"]
    if interface_knob:
        names = [f"{conf}/{name}/{interface_knob}" for name in interfaces]
        return tuple(_wanted(namespace, names, "1", inherited))
    return (
        *_advertisements(namespace, conf, interfaces, inherited),
        *_trampled(
            namespace,
            [f"{conf}/{name}/forwarding" for name in interfaces],
            inherited,
            is_on_by_us=everywhere in inherited,
        ),
        *_wanted(namespace, [everywhere], "1", inherited),
    )


def write_settings(namespace: Namespace, settings: Iterable[Setting]) -> None:
    """Give each its value. ``HostError`` when one is refused."""
    for setting in settings:
        if setting.written and namespace.read_setting(setting.name) != setting.ours:
            namespace.write_setting(setting.name, setting.ours)


def restore_settings(
    namespace: Namespace, settings: tuple[Setting, ...], still_needed: Collection[str]
) -> None:
    """Put the old values back, the last written first, but for names that are still needed."""
    for setting in reversed(settings):
        if setting.name in still_needed or setting.before == setting.ours:
            continue
        if namespace.read_setting(setting.name) == setting.ours:
            namespace.write_setting(setting.name, setting.before)
    _restore_newcomers(namespace, settings, still_needed)


def of_version(settings: Iterable[Setting], version: int) -> tuple[Setting, ...]:
    """Those of one IP version."""
    return tuple(s for s in settings if s.name.startswith(f"{_CONF[version]}/"))


def _interface_knob(namespace: Namespace, version: int) -> str:
    if version == 4:
        return "forwarding"
    force = namespace.read_setting(f"{_CONF[6]}/default/force_forwarding")
    return "" if force is None else "force_forwarding"


def _wanted(
    namespace: Namespace, names: Iterable[str], value: str, inherited: Mapping[str, Setting]
) -> Iterable[Setting]:
    for name in names:
        current = namespace.read_setting(name)
        if name in inherited:
            yield inherited[name]
        elif current is not None:
            yield Setting(name, current, value, written=current != value)


def _advertisements(
    namespace: Namespace, conf: str, interfaces: list[str], inherited: Mapping[str, Setting]
) -> Iterable[Setting]:
    for name in (f"{conf}/{interface}/accept_ra" for interface in interfaces):
        if name in inherited:
            yield inherited[name]
        elif namespace.read_setting(name) == "1":
            yield Setting(name, "1", "2")


def _trampled(
    namespace: Namespace,
    names: Iterable[str],
    inherited: Mapping[str, Setting],
    is_on_by_us: bool,
) -> Iterable[Setting]:
    """Interfaces that forwarded before any of us; once one of us turned all on, it knows which."""
    for name in names:
        if name in inherited:
            yield inherited[name]
        elif not is_on_by_us and namespace.read_setting(name) == "1":
            yield Setting(name, "1", "0", written=False)


def _restore_newcomers(
    namespace: Namespace, settings: tuple[Setting, ...], still_needed: Collection[str]
) -> None:
    """Interfaces that came after us took their value from our ``default``."""
    known = {setting.name for setting in settings}
    for setting in settings:
        prefix, _, rest = setting.name.partition("/default/")
        if not rest or setting.before == setting.ours or setting.name in still_needed:
            continue
        for interface in namespace.setting_names(prefix):
            name = f"{prefix}/{interface}/{rest}"
            if interface == "all" or name in known or name in still_needed:
                continue
            if namespace.read_setting(name) == setting.ours:
                namespace.write_setting(name, setting.before)
