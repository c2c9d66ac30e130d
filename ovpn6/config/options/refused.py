"""Rows: directives that are known and cannot be honoured, each with why and what to do."""

from __future__ import annotations

from ovpn6.config.options.client import PUSHED_DHCP
from ovpn6.config.options.row import Option, Status

_SECTION = "Refused"

_REMOVE = "remove the line"
_TUN = "use dev tun, and remove the line"
_OPENSSL = "run `openssl list` to see them"

_MANAGEMENT = "the management interface is not in this version"
_MANAGEMENT_NAMES = (
    "management",
    "management-client",
    "management-client-auth",
    "management-client-group",
    "management-client-user",
    "management-external-cert",
    "management-external-key",
    "management-forget-disconnect",
    "management-hold",
    "management-log-cache",
    "management-query-passwords",
    "management-query-proxy",
    "management-query-remote",
    "management-signal",
    "management-up-down",
)

_PKCS11 = "keys on a PKCS#11 token are not supported"
_PKCS11_NAMES = (
    "pkcs11-cert-private",
    "pkcs11-id",
    "pkcs11-id-management",
    "pkcs11-pin-cache",
    "pkcs11-private-mode",
    "pkcs11-protected-authentication",
    "pkcs11-providers",
    "show-pkcs11-ids",
)

_PROXY = "connecting through a proxy is not supported"
_PROXY_NAMES = (
    "http-proxy",
    "http-proxy-option",
    "http-proxy-override",
    "http-proxy-user-pass",
    "socks-proxy",
)

_ETHERNET = "Ethernet tunnels (tap, bridge, VLAN) are not supported"
_ETHERNET_NAMES = ("server-bridge", "lladdr", "vlan-tagging", "vlan-accept", "vlan-pvid")

_WINDOWS = "it does something on Windows alone"
_WINDOWS_NAMES = (
    "allow-nonadmin",
    "cryptoapicert",
    "dhcp-internal",
    "msg-channel",
    "rdns-internal",
    "show-adapters",
    "show-net",
    "show-valid-subnets",
)

_LISTS = "the TLS library lists what it can do"
_LIST_NAMES = ("show-curves", "show-engines", "show-groups")

_SINGLE: tuple[tuple[str, str, str], ...] = (
    # name, why, what to do
    (
        "plugin",
        "C plugins are not supported",
        "use a script: auth-user-pass-verify, client-connect",
    ),
    (
        "fragment",
        "the path's MTU is found out instead, and packets are fitted to it",
        "remove the line on both ends; path-mtu-max sets a limit by hand",
    ),
    ("mtu-dynamic", "OpenVPN itself replaced it by fragment", _REMOVE),
    (
        "mtu-test",
        "the path's MTU is measured all the time",
        "remove the line; the log and the status file tell what was found",
    ),
    ("link-mtu", "OpenVPN 2.7 removed it", "set tun-mtu, the largest inner packet"),
    ("udp-mtu", "OpenVPN 2.7 removed it", "set tun-mtu, the largest inner packet"),
    ("tun-mtu-extra", "it is of use to Ethernet tunnels alone", _REMOVE),
    ("shaper", "limiting the rate is not supported", "use `tc` on the interface"),
    ("secret", "static keys without TLS are not supported", "use peer-fingerprint"),
    ("no-replay", "replay protection cannot be turned off", _REMOVE),
    ("replay-persist", "the replay state is not kept over a restart", _REMOVE),
    ("tls-verify", "scripts on certificates are not supported", "use verify-x509-name"),
    ("tls-export-cert", "handing certificates to scripts is not supported", _REMOVE),
    ("tls-exit", "an end without `server` or `client` is not supported", _REMOVE),
    ("x509-track", "certificate fields are not exported", "use verify-x509-name"),
    ("ns-cert-type", "the old certificate type is not checked", "use remote-cert-tls"),
    ("compat-names", "OpenVPN 2.5 removed it", _REMOVE),
    ("no-name-remapping", "OpenVPN 2.5 removed it", _REMOVE),
    ("tls-remote", "OpenVPN 2.4 removed it", "use verify-x509-name"),
    ("client-cert-not-required", "OpenVPN 2.5 removed it", "use verify-client-cert none"),
    ("ncp-disable", "OpenVPN 2.6 removed it", "set data-ciphers"),
    ("key-method", "OpenVPN 2.5 removed it", _REMOVE),
    ("keysize", "OpenVPN 2.6 removed it", _REMOVE),
    ("no-iv", "OpenVPN 2.4 removed it", _REMOVE),
    ("compat-mode", "imitating older versions is not supported", "set what you need by itself"),
    (
        "force-tls-key-material-export",
        "peers that only have the older key derivation cannot be refused",
        _REMOVE,
    ),
    ("keying-material-exporter", "keying material is not exported", _REMOVE),
    ("engine", "OpenSSL engines are not supported", _REMOVE),
    ("providers", "OpenSSL providers are not chosen here", "set them in openssl.cnf"),
    ("test-crypto", "it tests static keys, which are not supported", _REMOVE),
    ("show-gateway", "the system lists its routes", "run `ip route`"),
    ("up-delay", "the interface is there before the connection", "use route-up"),
    ("iproute", "no command sets addresses; they are set by netlink", _REMOVE),
    ("client-nat", "rewriting addresses is not supported", "use nftables"),
    ("port-share", "sharing the port with a web server is not supported", _REMOVE),
    ("mlock", "memory is not locked", "turn swap off, or encrypt it"),
    ("setcon", "SELinux contexts are not changed", "set SELinuxContext= in the systemd unit"),
    ("remap-usr1", "signals have a fixed meaning", _REMOVE),
    ("gremlin", "it simulates faults for OpenVPN's own tests", _REMOVE),
    ("memstats", "memory statistics are not written", _REMOVE),
    ("remote-random-hostname", "random host names are not supported", "use the plain name"),
    ("static-challenge", "challenges need the management interface", _REMOVE),
    ("client-crresponse", "challenges need the management interface", _REMOVE),
    ("allow-pull-fqdn", "pushed routes hold addresses, not names", _REMOVE),
    (
        "ifconfig-push-constraint",
        "ifconfig-push is not limited to a network",
        "keep ifconfig-push within `server`",
    ),
    ("dns-updown", "DNS settings are not applied in this version", _REMOVE),
)


def _refused(name: str, reason: str, advice: str) -> Option:
    return Option(
        name,
        "[WORD] ...",
        f"Not supported: {reason}.",
        _SECTION,
        status=Status.REFUSED,
        reason=reason,
        advice=advice,
        connection=True,
        inline=True,
    )


def _dns(name: str) -> Option:
    reason = "DNS settings are not applied in this version"
    return Option(
        name,
        "WORD ...",
        "Not supported in a file; what a server pushes reaches the up script.",
        _SECTION,
        status=Status.REFUSED,
        reason=reason,
        advice="set them in the up script",
        pushed=PUSHED_DHCP,
    )


_FAMILIES: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (_MANAGEMENT_NAMES, _MANAGEMENT, f"{_REMOVE}; status writes the peers to a file"),
    (_PKCS11_NAMES, _PKCS11, "use cert and key"),
    (_PROXY_NAMES, _PROXY, _REMOVE),
    (_ETHERNET_NAMES, _ETHERNET, _TUN),
    (_WINDOWS_NAMES, _WINDOWS, _REMOVE),
    (_LIST_NAMES, _LISTS, _OPENSSL),
)

ROWS: tuple[Option, ...] = (
    *(_refused(*row) for row in _SINGLE),
    *(_refused(name, why, advice) for names, why, advice in _FAMILIES for name in names),
    _dns("dns"),
    _dns("dhcp-option"),
)
