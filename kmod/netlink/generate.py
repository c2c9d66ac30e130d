# SPDX-License-Identifier: GPL-2.0-only
"""Writes the C headers of the contract: ``python3 kmod/netlink/generate.py`` in the checkout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from contract import (
    CIPHERS,
    COMMANDS,
    DELETE_REASONS,
    DUMPS,
    FIRST_OWN,
    GROUP,
    LARGEST_KEY,
    LARGEST_PEER_ID,
    LINK_ATTRIBUTES,
    LONGEST_KEEPALIVE,
    MODES,
    MOST_PREFIXES,
    NONCE_TAIL,
    POLICIES,
    REQUESTS,
    SETS,
    SLOTS,
    VERSION,
    Attribute,
    Kind,
    Policy,
)

HEADER = """\
/* SPDX-License-Identifier: GPL-2.0-only */
/* Made by netlink/generate.py from netlink/contract.py. */
"""
KMOD = Path(__file__).parents[1]


def files() -> dict[Path, str]:
    """What belongs into which file."""
    return {
        KMOD / "uapi/ovpn6_netlink.h": "\n".join(_numbers()) + "\n",
        KMOD / "src/policies.h": "\n".join(_declarations()) + "\n",
        KMOD / "src/policies.c": "\n".join(_policies()),
    }


def _numbers() -> Iterator[str]:
    yield HEADER + "#ifndef OVPN6_NETLINK_H\n#define OVPN6_NETLINK_H\n"
    yield f"#define OVPN6_NETLINK_VERSION {VERSION}"
    yield f'#define OVPN6_NETLINK_GROUP "{GROUP}"'
    yield f"#define OVPN6_LARGEST_PEER_ID {LARGEST_PEER_ID:#x}"
    yield f"#define OVPN6_LONGEST_KEEPALIVE {LONGEST_KEEPALIVE}"
    yield f"#define OVPN6_LARGEST_KEY {LARGEST_KEY}"
    yield f"#define OVPN6_NONCE_TAIL {NONCE_TAIL}"
    yield f"#define OVPN6_MOST_PREFIXES {MOST_PREFIXES}"
    yield f"#define OVPN6_A_LAST_SHARED {_last_shared()}\n"
    yield from _enum("ovpn6_command", "OVPN6_CMD", COMMANDS)
    yield from _enum("ovpn6_delete_reason", "OVPN6_DEL", DELETE_REASONS)
    yield from _enum("ovpn6_cipher", "OVPN6_CIPHER", CIPHERS)
    yield from _enum("ovpn6_slot", "OVPN6_SLOT", SLOTS)
    yield from _enum("ovpn6_mode", "OVPN6_MODE", MODES)
    yield from _enum("ovpn6_link_attribute", "OVPN6_LINK", LINK_ATTRIBUTES, "OVPN6_LINK_MAX")
    for name, attributes in SETS.items():
        prefix = f"OVPN6_A_{name}" if name else "OVPN6_A"
        numbers = {attribute.name: attribute.number for attribute in attributes}
        tag = f"ovpn6_{name.lower() or 'top'}_attribute"
        yield from _enum(tag, prefix, numbers, f"{prefix}_MAX")
    yield "#endif"


def _last_shared() -> int:
    """The last attribute that Linux' own family has too."""
    return max(attribute.number for attribute in SETS[""] if attribute.number < FIRST_OWN)


def _enum(tag: str, prefix: str, members: Mapping[str, int], last: str = "") -> Iterator[str]:
    yield f"enum {tag} {{"
    yield from (f"\t{prefix}_{name} = {number}," for name, number in members.items())
    if last:
        yield f"\t{last} = {max(members.values())},"
    yield "};\n"


def _declarations() -> Iterator[str]:
    yield HEADER + "#ifndef OVPN6_POLICIES_H\n#define OVPN6_POLICIES_H\n"
    yield '#include <net/netlink.h>\n\n#include "ovpn6_netlink.h"\n'
    for policy in POLICIES:
        last = max(attribute.number for attribute in _chosen(policy))
        yield f"#define OVPN6_{policy.name.upper()}_LAST {last}"
        yield f"extern const struct nla_policy ovpn6_{policy.name}_policy[{last} + 1];"
    for command in (*REQUESTS, *DUMPS):
        yield f"extern const struct nla_policy {_request_name(command)};"
    yield "\n#endif"


def _policies() -> Iterator[str]:
    yield HEADER.replace("/* SPDX", "// SPDX", 1).replace(" */", "", 1)
    yield '#include "policies.h"\n'
    bounds = {a.high for attributes in SETS.values() for a in attributes if _needs_range(a)}
    # Not constant: kernels before 6.2 want it so.
    for high in sorted(bound for bound in bounds if bound is not None):
        yield f"static struct netlink_range_validation up_to_{high} = {{ .max = {high} }};"
    yield ""
    for policy in POLICIES:
        yield from _policy(policy)
    for command in (*REQUESTS, *DUMPS):
        yield from _request(command)


def _policy(policy: Policy) -> Iterator[str]:
    yield f"const struct nla_policy ovpn6_{policy.name}_policy[] = {{"
    for attribute in _chosen(policy):
        nest = dict(policy.nests).get(attribute.name, "")
        yield f"\t[OVPN6_A_{policy.set}_{attribute.name}] = {_entry(attribute, nest)},"
    yield "};\n"


def _chosen(policy: Policy) -> list[Attribute]:
    attributes = {attribute.name: attribute for attribute in SETS[policy.set]}
    return sorted((attributes[name] for name in policy.names), key=lambda a: a.number)


def _request(command: str) -> Iterator[str]:
    yield f"const struct nla_policy {_request_name(command)} = {{"
    yield "\t[OVPN6_A_IFINDEX] = { .type = NLA_U32 },"
    if command not in DUMPS:
        nest = f"NLA_POLICY_NESTED(ovpn6_{command.lower()}_policy)"
        yield f"\t[OVPN6_A_{_last_of(command)}] = {nest},"
    yield "};\n"


def _request_name(command: str) -> str:
    return f"ovpn6_{command.lower()}_request[OVPN6_A_{_last_of(command)} + 1]"


def _last_of(command: str) -> str:
    """The last attribute of a request: its nest, if it has one."""
    if command in DUMPS:
        return "IFINDEX"
    about, _, _ = command.partition("_")
    return {"PEER": "PEER", "KEY": "KEYCONF", "PREFIX": "PREFIX"}[about]


def _needs_range(attribute: Attribute) -> bool:
    """A policy itself has 15 bits for a bound."""
    return attribute.high is not None and attribute.high > 0x7FFF


def _entry(attribute: Attribute, nest: str) -> str:
    low, high = attribute.low, attribute.high
    if _needs_range(attribute):
        return f"NLA_POLICY_FULL_RANGE({attribute.kind.value}, &up_to_{high})"
    match attribute.kind:
        case Kind.NEST:
            return f"NLA_POLICY_NESTED(ovpn6_{nest}_policy)"
        case Kind.IPV6:
            return "NLA_POLICY_EXACT_LEN(16)"
        case Kind.COUNTER:
            return "NLA_POLICY_RANGE(NLA_BINARY, 4, 8)"
        case Kind.BYTES if low == high:
            return f"NLA_POLICY_EXACT_LEN({high})"
        case Kind.BYTES:
            return f"NLA_POLICY_MAX(NLA_BINARY, {high})"
        case kind if high is not None:
            return f"NLA_POLICY_MAX({kind.value}, {high})"
        case kind if low:
            return f"NLA_POLICY_MIN({kind.value}, {low})"
        case kind:
            return f"{{ .type = {kind.value} }}"


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
