"""One contract: the table in ``kmod/netlink``, the C that was made from it, the Python binding."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from ovpn6.datapath.ovpn_netlink import link_kind, messages
from ovpn6.model.ciphers import CIPHERS
from tests.kmod.pure_files import KMOD

KINDS = {
    "U32": "uint32",
    "S32": "int32",
    "PORT": "be16",
    "IPV4": "ip4addr",
    "IPV6": "ip6addr",
    "COUNTER": "number",
    "BYTES": "cdata",
}
"""pyroute2's names of the kinds."""


def test_the_c_headers_are_those_of_the_contract(netlink: dict[str, ModuleType]) -> None:
    for path, text in netlink["generate"].files().items():
        assert path.read_text() == text, f"{path}: run python3 kmod/netlink/generate.py"


def test_the_binding_has_the_contracts_commands(netlink: dict[str, ModuleType]) -> None:
    contract = netlink["contract"]
    assert {command.name: command.value for command in messages.Command} == contract.COMMANDS
    assert {r.name: r.value for r in messages.DeleteReason} == contract.DELETE_REASONS
    assert (messages.VERSION, messages.GROUP) == (contract.VERSION, contract.GROUP)
    assert contract.MODES == {"P2P": link_kind.MODE_P2P, "MP": link_kind.MODE_MP}
    assert {row.netlink_id for row in CIPHERS.values()} == set(contract.CIPHERS.values()) - {0}


def test_the_binding_has_the_contracts_attributes(netlink: dict[str, ModuleType]) -> None:
    contract = netlink["contract"]
    bound: dict[str, Any] = {
        "": messages.ovpnmsg,
        "PEER": messages.ovpnmsg.peer,
        "KEYCONF": messages.ovpnmsg.keyconf,
        "KEYDIR": messages.ovpnmsg.keyconf.keydir,
        "PREFIX": messages.ovpnmsg.network,
    }
    for name, attributes in contract.SETS.items():
        prefix = bound[name].prefix
        numbers = {text.removeprefix(prefix): (n, kind) for n, text, kind in bound[name].nla_map}
        assert numbers.pop("UNSPEC") == (0, "none")
        assert {a.name: a.number for a in attributes} == {k: n for k, (n, _) in numbers.items()}
        for attribute in attributes:
            wanted = KINDS.get(attribute.kind.name)
            bound_kind = numbers[attribute.name][1]
            if (name, attribute.name) == ("KEYCONF", "KEY_ID"):
                # The kernel's notification has two bytes of it.
                wanted = "number"
            assert wanted in (None, bound_kind), (name, attribute.name)


def test_own_numbers_are_far_from_those_of_linux(netlink: dict[str, ModuleType]) -> None:
    contract = netlink["contract"]
    own = {name: number for name, number in contract.COMMANDS.items() if "PREFIX" in name}
    assert own.keys() == {"PREFIX_NEW", "PREFIX_DEL", "PREFIX_GET"}
    shared = contract.COMMANDS.keys() - own.keys()
    assert max(contract.COMMANDS[name] for name in shared) < contract.FIRST_OWN
    assert min(own.values()) >= contract.FIRST_OWN
    assert "#define OVPN6_A_LAST_SHARED 3\n" in (KMOD / "uapi/ovpn6_netlink.h").read_text()


def test_every_request_has_a_policy_of_known_attributes(netlink: dict[str, ModuleType]) -> None:
    contract = netlink["contract"]
    policies = {policy.name: policy for policy in contract.POLICIES}
    assert {name.lower() for name in contract.REQUESTS} == policies.keys() - {"keydir"}
    for policy in policies.values():
        known = {attribute.name for attribute in contract.SETS[policy.set]}
        assert set(policy.names) <= known
        assert {name for _, name in policy.nests} <= policies.keys()
