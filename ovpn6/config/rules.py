"""Directives that contradict or need each other: what is wrong only when all is read."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Interface

from ovpn6.config.draft import Draft
from ovpn6.config.lexer import split_line
from ovpn6.config.options import OPTIONS, Scope, Side
from ovpn6.config.schema import Mode, PointToPointConfig, TunnelConfig, WrapMode
from ovpn6.model.errors import ConfigError, Source

CONFLICTS: tuple[tuple[str, str, str], ...] = (
    # one, another, what to do
    ("ping-exit", "ping-restart", "keep one of them"),
    ("keepalive", "ping", "keep keepalive, which includes it"),
    ("keepalive", "ping-restart", "keep keepalive, which includes it"),
    ("keepalive", "ping-exit", "keep ping and ping-exit"),
    ("pkcs12", "cert", "keep pkcs12, which includes the certificate"),
    ("pkcs12", "key", "keep pkcs12, which includes the key"),
    ("pkcs12", "capath", "use ca instead of capath"),
    ("peer-fingerprint", "verify-hash", "keep peer-fingerprint"),
    ("compress", "comp-lzo", "keep one of them"),
    ("redirect-gateway", "redirect-private", "keep one of them"),
)
"""Pairs that cannot stand together."""

NEEDS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    # one, any of these, what to do
    ("cert", ("key",), "add `key FILE`"),
    ("key", ("cert",), "add `cert FILE`"),
    ("ccd-exclusive", ("client-config-dir",), "add `client-config-dir DIR`"),
    ("username-as-common-name", ("auth-user-pass-verify",), "add auth-user-pass-verify"),
    ("auth-user-pass-optional", ("auth-user-pass-verify",), "add auth-user-pass-verify"),
    ("tls-crypt-v2-verify", ("tls-crypt-v2",), "add `tls-crypt-v2 FILE`"),
    ("tls-crypt-v2-max-age", ("tls-crypt-v2",), "add `tls-crypt-v2 FILE`"),
    ("auth-gen-token-secret", ("auth-gen-token",), "add auth-gen-token"),
    ("ifconfig-pool", ("ifconfig", "server"), "add `ifconfig ADDRESS NETMASK`"),
    ("ifconfig-ipv6-pool", ("ifconfig-ipv6", "server-ipv6"), "add `ifconfig-ipv6 ADDRESS/BITS`"),
    (
        "ifconfig-pool-persist",
        ("server", "server-ipv6", "ifconfig-pool", "ifconfig-ipv6-pool"),
        "add `server-ipv6 NETWORK/BITS`",
    ),
)
"""Directives that mean nothing without another."""

OF_TLS_SERVER = frozenset(("dh", "tls-crypt-v2-max-age"))
"""A server's directives that one of two equal ends with tls-server may have."""

OF_PULL = frozenset(("pull-filter", "route-nopull", "auth-user-pass", "auth-retry", "auth-nocache"))
"""A client's directives that mean something only where options are pulled."""

SCRIPTS = (
    "up",
    "down",
    "route-up",
    "route-pre-down",
    "ipchange",
    "client-connect",
    "client-disconnect",
    "learn-address",
    "auth-user-pass-verify",
    "tls-crypt-v2-verify",
)
"""Directives that run a user's script."""

IPV6_MINIMUM_MTU = 1280


def check(draft: Draft, config: TunnelConfig) -> None:
    """Note every contradiction in ``draft``'s errors, and every oddity in its warnings."""
    for one, another, advice in CONFLICTS:
        if draft.is_given(one) and draft.is_given(another):
            source = max(
                (draft.given[one][-1].source, draft.given[another][-1].source),
                key=lambda each: each.line,
            )
            draft.fail(f"{one} and {another} exclude each other", source, advice)
    for name, needed, advice in NEEDS:
        if draft.is_given(name) and not any(draft.is_given(other) for other in needed):
            draft.fail(f"{name} needs {' or '.join(needed)}", draft.source_of(name), advice)
    for rule in (*(_OF_A_ROLE if draft.role_known else ()), *_RULES):
        rule(draft, config)


# --- the rules ----------------------------------------------------------------------------------


def _sides(draft: Draft, config: TunnelConfig) -> None:
    if config.point_to_point is not None:
        _equal_sides(draft, config.point_to_point)
        return
    ours = Side.SERVER if config.mode is Mode.SERVER else Side.CLIENT
    for name, directives in draft.given.items():
        option = OPTIONS[name]
        if option.side in (Side.BOTH, ours) or name in ("client", "pull", "tls-client"):
            continue
        text = f"{name} belongs to a {option.side.value}"
        for directive in directives:
            if option.lenient:
                draft.warn(f"{text} and does nothing here", directive.source)
            else:
                draft.fail(text, directive.source, f"remove it from this {ours.value}")


def _equal_sides(draft: Draft, both: PointToPointConfig) -> None:
    """Between two equal ends nothing is pulled, and most of a server's directives lack an object;
    what remains are those of its part in TLS."""
    for name, directives in draft.given.items():
        option = OPTIONS[name]
        if option.side is Side.SERVER:
            if name in OF_TLS_SERVER and both.tls_server:
                continue
            text = f"{name} belongs to a server"
        elif name in OF_PULL:
            text = f"{name} belongs to a client that pulls"
        else:
            continue
        for directive in directives:
            if option.lenient:
                draft.warn(f"{text} and does nothing here", directive.source)
            else:
                draft.fail(text, directive.source, "remove it from this one of two equal ends")


def _addresses(draft: Draft, config: TunnelConfig) -> None:
    remote = draft.role.ifconfig_remote
    if remote is None or config.point_to_point is not None:
        return
    advice = "give a netmask: ifconfig 10.8.0.1 255.255.255.0"
    draft.fail(f"'{remote}' is not a netmask", draft.source_of("ifconfig"), advice)


def _networks(draft: Draft, config: TunnelConfig) -> None:
    server = config.server
    if server is None:
        return
    source = draft.source_of("mode", "server", "server-ipv6")
    if server.server is None and server.server_ipv6 is None:
        draft.fail("a server needs a tunnel network", source, "add `server-ipv6 NETWORK/BITS`")
    first, last = server.pool_start, server.pool_end
    if server.server is not None and isinstance(first, IPv4Address):
        outside = [each for each in (first, last) if each not in server.server]
        if outside:
            text = f"the pool's {outside[0]} is not in {server.server}"
            draft.fail(text, draft.source_of("ifconfig-pool"), "take the pool from the network")
        size = int(last or first) - int(first) + 1
        if draft.is_given("max-clients") and size < server.max_clients:
            max_source = draft.given["max-clients"][-1].source
            draft.warn(f"the IPv4 pool has {size} addresses, fewer than max-clients", max_source)
    pool = server.pool_ipv6
    if pool is not None and server.server_ipv6 is not None and pool.network != server.server_ipv6:
        text = f"the pool {pool} is not in {server.server_ipv6}"
        advice = "take the pool from the network of ifconfig-ipv6, with its prefix length"
        draft.fail(text, draft.source_of("ifconfig-ipv6-pool"), advice)


def _topology(draft: Draft, config: TunnelConfig) -> None:
    if not draft.is_given("topology"):
        return
    source = draft.given["topology"][-1].source
    if config.point_to_point is not None:
        _equal_topology(draft, source)
        return
    if draft.role.topology == "subnet":
        return
    if config.server is not None:
        message = f"topology {draft.role.topology} is not supported on a server"
        draft.fail(message, source, "write topology subnet")
    else:
        draft.warn("topology does nothing here: the server's counts", source)


def _equal_topology(draft: Draft, source: Source) -> None:
    """net30 and p2p are the same between two ends: ``ifconfig`` has the other end's address."""
    role = draft.role
    if role.ifconfig is None:
        return
    if role.topology == "subnet" and role.ifconfig_remote is not None:
        advice = "give a netmask: ifconfig 10.8.0.1 255.255.255.0"
        message = f"topology subnet has a netmask in ifconfig, not {role.ifconfig_remote}"
        draft.fail(message, source, advice)
    elif role.topology != "subnet" and role.ifconfig_remote is None:
        advice = "give both addresses: ifconfig 10.8.0.1 10.8.0.2"
        message = f"topology {role.topology} has the other end's address in ifconfig"
        draft.fail(message, source, advice)


def _mtu(draft: Draft, config: TunnelConfig) -> None:
    host = config.host
    has_ipv6 = any(isinstance(each, IPv6Interface) for each in host.ifconfig)
    source = draft.source_of("tun-mtu")
    if has_ipv6 and host.tun_mtu < IPV6_MINIMUM_MTU:
        message = f"IPv6 needs an MTU of {IPV6_MINIMUM_MTU}, and tun-mtu is {host.tun_mtu}"
        draft.fail(message, source, f"set tun-mtu {IPV6_MINIMUM_MTU} or more")
    timers = config.mtu
    if not timers.probe < timers.confirm < timers.raise_:
        message = "each of path-mtu-timers must be longer than the one before"
        draft.fail(message, draft.source_of("path-mtu-timers"), "path-mtu-timers 1 10 600")
    if timers.largest and timers.largest < timers.base:
        source_of_base = draft.source_of("path-mtu-base")
        draft.fail("path-mtu-base is greater than path-mtu-max", source_of_base, "lower it")
    if host.tun_mtu > host.tun_mtu_max and draft.is_given("tun-mtu-max"):
        draft.fail("tun-mtu is greater than tun-mtu-max", source, "raise tun-mtu-max")


def _authentication(draft: Draft, config: TunnelConfig) -> None:
    tls = config.tls
    if not (tls.ca or tls.capath or tls.pkcs12 or tls.peer_fingerprint):
        advice = "add `ca FILE`, or `peer-fingerprint SHA256`"
        source = draft.source_of("client", "server-ipv6", "server", "mode", "tls-client")
        draft.fail("nothing says which certificates to accept", source, advice)
    if config.is_tls_server and not (tls.pkcs12 or draft.is_given("cert") or draft.is_given("key")):
        advice = "add `cert FILE` and `key FILE`, or `pkcs12 FILE`"
        source = draft.source_of("server-ipv6", "server", "mode", "tls-server")
        draft.fail("a server needs a certificate and its key", source, advice)
    if config.point_to_point is not None:
        _equal_authentication(draft, config)
    elif config.client is not None:
        _client_authentication(draft, config)


def _client_authentication(draft: Draft, config: TunnelConfig) -> None:
    tls, client = config.tls, config.client
    if client is None:
        return
    source = draft.source_of("client", "pull", "tls-client")
    by_password = client.auth_user_pass is not None or client.auth_user_pass_prompt
    if not (tls.pkcs12 or draft.is_given("cert") or draft.is_given("key") or by_password):
        advice = "add cert and key, or pkcs12, or auth-user-pass"
        draft.fail("nothing proves who this client is", source, advice)
    checked = tls.remote_cert_eku or tls.remote_cert_ku or tls.verify_x509_name or tls.verify_hash
    if not (checked or tls.peer_fingerprint) and source is not None:
        text = "any certificate of the authority passes for the server: add remote-cert-tls server"
        draft.warn(text, source)


def _equal_authentication(draft: Draft, config: TunnelConfig) -> None:
    tls = config.tls
    source = draft.source_of("tls-client", "tls-server")
    if not (tls.pkcs12 or draft.is_given("cert") or draft.is_given("key")):
        if not config.is_tls_server:
            advice = "add cert and key, or pkcs12"
            draft.fail("nothing proves who this end is", source, advice)
        return
    checked = tls.remote_cert_eku or tls.remote_cert_ku or tls.verify_x509_name or tls.verify_hash
    if not (checked or tls.peer_fingerprint) and source is not None:
        part = "client" if config.is_tls_server else "server"
        text = f"any certificate of the authority passes for the peer: add remote-cert-tls {part}"
        draft.warn(text, source)


def _tls_versions(draft: Draft, config: TunnelConfig) -> None:
    tls = config.tls
    if tls.tls_version_max and tls.tls_version_max < tls.tls_version_min:
        source = draft.source_of("tls-version-max")
        text = f"tls-version-max {tls.tls_version_max} is below the minimum {tls.tls_version_min}"
        draft.fail(text, source, "lower tls-version-min, or raise tls-version-max")


def _passwords(draft: Draft, config: TunnelConfig) -> None:
    script = config.scripts.auth_user_pass_verify
    if config.tls.verify_client_cert != "require" and not script:
        source = draft.source_of("verify-client-cert")
        advice = "add auth-user-pass-verify"
        draft.fail("clients without a certificate would prove nothing", source, advice)
    server = config.server
    if server is None or not server.auth_gen_token:
        return
    source = draft.source_of("auth-gen-token")
    if config.control.reneg_sec == 0:
        draft.fail("auth-gen-token needs renegotiation", source, "set reneg-sec")
    least = 2 * config.control.hand_window
    if 0 < server.auth_gen_token_renewal < least:
        draft.fail("tokens would end before they are renewed", source, f"renew at {least} or more")


def _wrapping(draft: Draft, config: TunnelConfig) -> None:
    if config.wrap.mode is WrapMode.TLS_AUTH and config.wrap.auth == "none":
        draft.fail("tls-auth needs a digest", draft.source_of("auth"), "write auth SHA256")


def _binding(draft: Draft, config: TunnelConfig) -> None:
    if config.server is not None:
        return
    places = [(draft.source_of("nobind"), draft.link), *draft.blocks]
    for source, link in places:
        if not link.nobind:
            continue
        used = (("bind", link.bind), ("lport", link.local_port_given), ("local", link.locals))
        for name, given in used:
            if given:
                draft.fail(f"nobind and {name} exclude each other", source, f"remove {name}")


def _script_security(draft: Draft, config: TunnelConfig) -> None:
    level = config.process.script_security
    for name in SCRIPTS:
        if level < 2 and draft.is_given(name):
            message = f"script-security {level} does not permit the script of {name}"
            draft.fail(message, draft.source_of(name), "add `script-security 2`")
    scripts = config.scripts
    by_environment = scripts.auth_user_pass_verify_method == "via-env"
    if scripts.auth_user_pass_verify and by_environment and level == 2:
        message = "a password in the environment needs script-security 3"
        source = draft.source_of("auth-user-pass-verify")
        draft.fail(message, source, "write via-file, or script-security 3")


def _redirects(draft: Draft, config: TunnelConfig) -> None:
    flags = config.host.redirect_gateway
    if flags is not None and "!ipv4" in flags and "ipv6" not in flags:
        source = draft.given.get("redirect-gateway", draft.given.get("redirect-private", []))
        for directive in source[-1:]:
            draft.warn("!ipv4 without ipv6 redirects nothing", directive.source)


def _pushes(draft: Draft, config: TunnelConfig) -> None:
    for directive in draft.given.get("push", []):
        _check_push(draft, directive.args[0], directive.source)


def _check_push(draft: Draft, text: str, source: Source) -> None:
    try:
        words = split_line(text, source)
    except ConfigError as error:
        draft.errors.append(error)
        return
    option = OPTIONS.get(words[0]) if words else None
    if option is None or Scope.PUSH not in option.scopes:
        name = words[0] if words else text
        if not _known_to_clients(name):
            draft.warn(f"clients will not know the pushed option {name!r}", source)


def _known_to_clients(name: str) -> bool:
    """Options of other systems' clients, which we drop when they are pushed to us."""
    option = OPTIONS.get(name)
    return option is not None and option.section == "Accepted without effect"


_OF_A_ROLE: tuple[Callable[[Draft, TunnelConfig], None], ...] = (
    _sides,
    _networks,
    _authentication,
)
_RULES: tuple[Callable[[Draft, TunnelConfig], None], ...] = (
    _topology,
    _addresses,
    _mtu,
    _tls_versions,
    _passwords,
    _wrapping,
    _binding,
    _script_security,
    _redirects,
    _pushes,
)
