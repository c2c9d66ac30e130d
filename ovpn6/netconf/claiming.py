"""What a ledger says of changes to come, and of what is there. PURE but for reading settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ovpn6.model.records import replace
from ovpn6.model.specs import HostPlan
from ovpn6.netconf.forwarding import needed_settings
from ovpn6.netconf.ledger import Ledger
from ovpn6.netconf.namespace import Namespace
from ovpn6.netconf.plan import (
    AddAddress,
    AddRoute,
    Change,
    EnableForwarding,
    ObservedState,
    ReplaceRoute,
    SetMtu,
    SetUp,
)

ReadOthers = Callable[[], Iterable[Ledger]]
"""What other instances hold; it is read where it matters only."""


def believed(ledger: Ledger, plan: HostPlan) -> ObservedState:
    """What there is, if nobody else has changed any of it since the plan was applied."""
    return ObservedState(
        tunnel_namespace=ledger.tunnel_namespace,
        underlay_namespace=ledger.underlay_namespace,
        device=ledger.index,
        mtu=ledger.link_ours.mtu,
        up=True,
        addresses=frozenset(plan.addresses),
        own_addresses=ledger.addresses,
        routes=ledger.routes,
        forwarding=ledger.forwarding,
    )


def claiming(
    ledger: Ledger, todo: Iterable[Change], tunnel: Namespace, others: ReadOthers
) -> Ledger:
    """The ledger that covers the changes as well, whether or not they succeed."""
    for change in todo:
        match change:
            case SetMtu(_, mtu):
                ledger = replace(ledger, link_ours=replace(ledger.link_ours, mtu=mtu))
            case SetUp(up):
                ledger = replace(ledger, link_ours=replace(ledger.link_ours, up=up))
            case AddAddress(address):
                ledger = replace(ledger, addresses=ledger.addresses | {address})
            case AddRoute(route) | ReplaceRoute(_, route):
                ledger = replace(ledger, routes=ledger.routes | {route})
            case EnableForwarding(version):
                inherited = {
                    setting.name: setting
                    for other in others()
                    if other.tunnel_namespace == ledger.tunnel_namespace
                    for setting in other.settings
                }
                needed = needed_settings(tunnel, version, inherited)
                ledger = replace(
                    ledger,
                    forwarding=ledger.forwarding | {version},
                    settings=ledger.settings + needed,
                )
            case _:
                pass
    return ledger
