"""Rows: directives that are accepted and change nothing, each with the reason."""

from __future__ import annotations

from ovpn6.config.options.row import Option, Status

_SECTION = "Accepted without effect"
_WINDOWS = "it concerns Windows alone"
_TUNING = "there is no such buffer or table to size here"

_NOTICES: tuple[tuple[str, str, str, str], ...] = (
    # name, usage, what it asks for, why nothing happens
    ("fast-io", "", "Save a system call for each UDP packet.", "sockets are always read this way"),
    ("disable-occ", "", "Do not compare options with the other end.", "differences only warn"),
    ("ping-timer-rem", "", "Start timers when a peer is there.", "timers start then anyway"),
    ("single-session", "", "Accept one session.", "a peer has one session at a time anyway"),
    ("preresolve", "[HOST]", "Look names up at the start.", "names are looked up when needed"),
    ("ip-remote-hint", "[HOST]", "Look names up at the start.", "names are looked up when needed"),
    ("dev-node", "NODE", "The device file to open.", "it is always /dev/net/tun"),
    ("hash-size", "REAL VIRTUAL", "Size of the peer tables.", _TUNING),
    ("bcast-buffers", "N", "Broadcast buffers.", _TUNING),
    ("tcp-queue-limit", "N", "Packets that wait for a TCP client.", _TUNING),
    (
        "stale-routes-check",
        "SECONDS [INTERVAL]",
        "Forget learnt routes that are not used.",
        "only the routes of configuration and iroute exist, and none is learnt",
    ),
    ("errors-to-stderr", "", "Log errors to standard error.", "the log is one stream"),
    ("echo", "[TEXT] ...", "Show a text.", "it is a message for management clients"),
    ("parameter", "[TEXT] ...", "Show a text.", "it is a message for management clients"),
    ("block-outside-dns", "", "Block DNS outside of the tunnel.", _WINDOWS),
    ("register-dns", "", "Register names at connection.", _WINDOWS),
    ("ip-win32", "METHOD [OFFSET] [LEASE]", "How addresses are set.", _WINDOWS),
    ("windows-driver", "DRIVER", "The interface's driver.", _WINDOWS),
    ("route-method", "METHOD", "How routes are set.", _WINDOWS),
    ("win-sys", "PATH", "The system directory.", _WINDOWS),
    ("tap-sleep", "SECONDS", "Wait for the interface.", _WINDOWS),
    ("dhcp-renew", "", "Renew the lease.", _WINDOWS),
    ("dhcp-release", "", "Release the lease.", _WINDOWS),
    ("dhcp-pre-release", "", "Release the lease first.", _WINDOWS),
    ("show-net-up", "", "Show routes at the start.", _WINDOWS),
    ("pause-exit", "", "Wait for a key at the end.", _WINDOWS),
    ("service", "EVENT [STATE]", "The event that ends the service.", _WINDOWS),
)

_LEGACY: tuple[tuple[str, str, str, str], ...] = (
    (
        "persist-local-ip",
        "",
        "Keep the local address over a restart.",
        "each attempt chooses its address anew",
    ),
    (
        "persist-remote-ip",
        "",
        "Keep the server's address over a restart.",
        "each attempt looks the name up anew",
    ),
    ("ecdh-curve", "NAME", "Curve of the key exchange.", "tls-groups chooses it"),
    ("prng", "[DIGEST] [SIZE]", "Random number generator.", "the system's generator is used"),
    ("opt-verify", "", "Refuse clients whose options differ.", "OpenVPN 2.7 removed it"),
    ("comp-noadapt", "", "Compress always.", "nothing is compressed"),
    ("http-proxy-retry", "", "Try the proxy again.", "OpenVPN 2.4 removed it"),
    ("http-proxy-timeout", "SECONDS", "Wait for the proxy.", "OpenVPN 2.4 removed it"),
    ("socks-proxy-retry", "", "Try the proxy again.", "OpenVPN 2.4 removed it"),
    (
        "allow-deprecated-insecure-static-crypto",
        "",
        "Permit static keys.",
        "static keys are not supported",
    ),
    ("use-prediction-resistance", "", "For mbed TLS.", "OpenSSL is the TLS library"),
)

_IN_BLOCKS = frozenset({"http-proxy-retry", "socks-proxy-retry"})

PUSHED_REASONS = {
    name: reason
    for name, _usage, _text, reason in _NOTICES
    if name in ("block-outside-dns", "register-dns", "echo", "parameter", "ip-win32")
    or name in ("route-method", "dhcp-renew", "dhcp-release", "dhcp-pre-release", "tap-sleep")
    or name in ("ping-timer-rem", "show-net-up")
} | {
    "persist-local-ip": "each attempt chooses its address anew",
    "persist-remote-ip": "each attempt looks the name up anew",
    "tun-ipv6": "",
}
"""Pushed options that are dropped, and why; an empty reason is not worth a line."""

ROWS: tuple[Option, ...] = tuple(
    Option(
        name,
        usage,
        text,
        _SECTION,
        status=status,
        reason=reason,
        connection=name in _IN_BLOCKS,
    )
    for status, table in ((Status.NOTICE, _NOTICES), (Status.LEGACY, _LEGACY))
    for name, usage, text, reason in table
)
