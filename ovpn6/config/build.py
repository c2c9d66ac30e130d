"""From a draft to a finished configuration: roles, sockets, remotes, protection.

Notes every contradiction in the draft's errors and goes on, so that all are told at once.
"""

from __future__ import annotations

from ovpn6.config import macros
from ovpn6.config.draft import Draft, LinkDraft, LocalLine, RemoteLine
from ovpn6.config.schema import (
    ClientConfig,
    DataConfig,
    HostConfig,
    Listen,
    Mode,
    PointToPointConfig,
    Remote,
    ServerConfig,
    TunnelConfig,
    WrapConfig,
    WrapMode,
)
from ovpn6.config.values import Proto, literal_family
from ovpn6.model.errors import Source
from ovpn6.model.names import Family, Transport
from ovpn6.model.records import replace


def build_config(draft: Draft) -> TunnelConfig:
    """The configuration that the draft describes; worthless when ``draft.errors`` is not empty."""
    mode = _mode(draft)
    is_server = mode is Mode.SERVER
    server = _server(draft) if is_server else None
    point_to_point = _point_to_point(draft) if mode is Mode.POINT_TO_POINT else None
    client = None if is_server else _client(draft)
    return TunnelConfig(
        mode=mode,
        process=draft.process,
        tls=draft.tls,
        wrap=_wrap(draft),
        control=draft.control,
        data=_data(draft, is_server=is_server),
        host=_host(draft),
        mtu=replace(draft.mtu, mssfix=draft.link.mssfix, mtu_disc=draft.link.mtu_disc),
        sockets=draft.sockets,
        scripts=draft.scripts,
        server=server,
        client=client,
        point_to_point=point_to_point,
        origin=draft.origin,
    )


# --- the role -----------------------------------------------------------------------------------


def _mode(draft: Draft) -> Mode:
    role = draft.role
    macro = role.server is not None or role.server_ipv6 is not None
    is_server = role.is_server
    is_client = role.client or role.pull
    server_source = draft.source_of("server-ipv6", "server", "mode")
    if is_server and (is_client or role.tls_client):
        advice = "keep one: a process is a server or a client"
        name = next(name for name in ("client", "pull", "tls-client") if draft.is_given(name))
        draft.fail(f"{name} contradicts being a server", draft.source_of(name), advice)
        draft.role_known = False
    if role.mode_server and not macro and not role.tls_server:
        draft.fail("mode server needs tls-server", server_source, "add tls-server")
    if role.tls_server and (role.tls_client or (is_client and not is_server)):
        advice = "keep one: the other end has the other part in TLS"
        name = "tls-client" if role.tls_client else "client" if role.client else "pull"
        draft.fail(f"tls-server and {name} exclude each other", draft.source_of(name), advice)
        draft.role_known = is_client
    elif not is_server and not is_client and not role.is_point_to_point:
        draft.role_known = False
        advice = "add `client`, or `server-ipv6 NETWORK/BITS`, or tls-server or tls-client"
        draft.fail("neither server nor client nor one of two equal ends", None, advice)
    elif role.pull and not role.client and not role.tls_client:
        draft.fail("pull needs tls-client", draft.source_of("pull"), "write client instead")
    if role.is_point_to_point:
        return Mode.POINT_TO_POINT
    return Mode.SERVER if is_server else Mode.CLIENT


# --- sockets and remotes ------------------------------------------------------------------------


def _server(draft: Draft) -> ServerConfig:
    server = macros.expand_server(draft)
    link = draft.link
    lines = link.locals or (LocalLine(draft.source_of("proto") or draft.origin, ""),)
    listens: list[Listen] = []
    for line in lines:
        proto = line.proto or link.proto
        if proto.side == "client":
            advice = "write tcp-server"
            draft.fail("a server cannot use a client's protocol", line.source, advice)
        family = _family(draft, proto, line.address, line.source)
        port = link.local_port if line.port is None else line.port
        listen = Listen(proto.transport, family, line.address, port)
        if listen in listens:
            draft.fail("the same socket is asked for twice", line.source, "remove one `local`")
        listens.append(listen)
    notify = link.explicit_exit_notify
    return replace(server, listens=tuple(listens), explicit_exit_notify=notify)


def _point_to_point(draft: Draft) -> PointToPointConfig:
    """As in OpenVPN such an end binds its port, unless nobind says otherwise."""
    role, link = draft.role, draft.link
    for each in (link, *(block for _, block in draft.blocks)):
        each.bind = not each.nobind
    protos = [line.proto or link.proto for line in link.remotes]
    protos += [line.proto or block.proto for _, block in draft.blocks for line in block.remotes]
    tcp_server = any(proto.side == "server" for proto in protos or [_own_proto(link)])
    if tcp_server and len(protos) > 1:
        place = draft.source_of("remote", "connection")
        draft.fail("tcp-server waits for one remote", place, "keep one remote, or none")
    return PointToPointConfig(
        tls_server=role.tls_server,
        tcp_server=tcp_server,
        passive=None if link.remotes or draft.blocks else _passive(draft),
        ifconfig_remote=role.ifconfig_remote,
        ifconfig_ipv6_remote=role.ifconfig_ipv6_remote,
    )


def _own_proto(link: LinkDraft) -> Proto:
    return (link.locals[-1].proto if link.locals else None) or link.proto


def _passive(draft: Draft) -> Remote:
    """Our own socket, for an end that waits."""
    link = draft.link
    proto = _own_proto(link)
    source = draft.source_of("proto") or draft.origin
    if link.nobind:
        draft.fail("nobind needs a remote", draft.source_of("nobind"), "add `remote HOST PORT`")
    if proto.side == "client":
        draft.fail("tcp-client needs a remote", source, "add `remote HOST PORT`")
    if link.tls_crypt_v2 is not None and not draft.role.tls_server:
        message = "with tls-crypt-v2 the end with tls-client has to begin"
        draft.fail(message, draft.source_of("tls-crypt-v2"), "add `remote HOST PORT`")
    local = link.locals[-1].address if link.locals else ""
    found = _remote_of(draft, link, RemoteLine(source, "", proto=proto))
    return replace(found, family=_family(draft, proto, local, source))


def _client(draft: Draft) -> ClientConfig:
    link = draft.link
    remotes = [_remote(draft, block, source) for source, block in draft.blocks if block.remotes]
    for source, block in draft.blocks:
        if not block.remotes:
            draft.fail("<connection> has no remote", source, "add `remote HOST PORT` to it")
    if draft.blocks:
        for line in link.remotes:
            draft.warn("remote is not used beside <connection> blocks", line.source)
    else:
        remotes = [_remote_of(draft, link, line) for line in link.remotes]
    if not remotes and not draft.blocks and (draft.role.client or draft.role.pull):
        asked = draft.source_of("client", "pull")
        draft.fail("a client needs a remote", asked, "add `remote HOST PORT`")
    forced = draft.host.proto_force
    if remotes and forced is not None:
        remotes = [remote for remote in remotes if remote.transport is forced]
        if not remotes:
            message = f"proto-force {forced.value} leaves no remote"
            draft.fail(message, draft.source_of("proto-force"), f"add a remote of {forced.value}")
    return replace(
        draft.client,
        pull=not draft.role.is_point_to_point,
        remotes=tuple(remotes),
        nobind=link.nobind,
        server_poll_timeout=link.connect_timeout,
        explicit_exit_notify=link.explicit_exit_notify,
    )


def _remote(draft: Draft, block: LinkDraft, source: Source) -> Remote:
    if len(block.remotes) > 1:
        advice = "write a block for each"
        draft.fail("<connection> has several remotes", source, advice)
    remote = _remote_of(draft, block, block.remotes[-1])
    _one_wrap(draft, block, source)
    return replace(
        remote,
        tls_auth=block.tls_auth,
        key_direction=block.key_direction,
        tls_crypt=block.tls_crypt,
        tls_crypt_v2=block.tls_crypt_v2,
    )


def _remote_of(draft: Draft, link: LinkDraft, line: RemoteLine) -> Remote:
    proto = line.proto or link.proto
    if draft.role.is_point_to_point:
        if proto.transport is Transport.TCP and not proto.side:
            word = f"tcp{proto.family.value if proto.family is not Family.ANY else ''}"
            advice = f"write {word}-server at one end and {word}-client at the other"
            draft.fail(f"{word} does not say who connects", line.source, advice)
    elif proto.side == "server":
        draft.fail("a client cannot use a server's protocol", line.source, "write tcp-client")
    local = link.locals[-1].address if link.locals else ""
    if len(link.locals) > 1:
        draft.fail("a client has one `local`", link.locals[-1].source, "keep one of them")
    own_port = link.locals[-1].port if link.locals else None
    port = link.local_port if own_port is None else own_port
    bound = bool(link.locals) or link.local_port_given or link.bind
    notify = link.explicit_exit_notify if proto.transport is Transport.UDP else 0
    return Remote(
        host=line.host,
        port=line.port or link.remote_port,
        transport=proto.transport,
        family=_family(draft, proto, line.host, line.source),
        local_address=local,
        local_port=port if bound and not link.nobind else 0,
        connect_timeout=link.connect_timeout,
        explicit_exit_notify=notify,
        mssfix=link.mssfix,
        mtu_disc=link.mtu_disc,
    )


def _family(draft: Draft, proto: Proto, address: str, source: Source) -> Family:
    """The protocol's family, or that of the address where it is one."""
    literal = literal_family(address)
    if proto.family is Family.ANY or literal is Family.ANY:
        return literal if proto.family is Family.ANY else proto.family
    if literal is not proto.family:
        word = f"{proto.transport.value}{proto.family.value}"
        draft.fail(
            f"{address} is not an address of {word}", source, f"write {proto.transport.value}"
        )
    return proto.family


# --- protection, data, host ---------------------------------------------------------------------


def _one_wrap(draft: Draft, link: LinkDraft, source: Source | None) -> None:
    given = [
        mode.value
        for mode, key in (
            (WrapMode.TLS_AUTH, link.tls_auth),
            (WrapMode.TLS_CRYPT, link.tls_crypt),
            (WrapMode.TLS_CRYPT_V2, link.tls_crypt_v2),
        )
        if key is not None
    ]
    if len(given) > 1:
        advice = "keep one of them; the other end must have the same"
        draft.fail(f"{' and '.join(given)} exclude each other", source, advice)


def _wrap(draft: Draft) -> WrapConfig:
    link = draft.link
    _one_wrap(draft, link, draft.source_of("tls-crypt-v2", "tls-crypt", "tls-auth"))
    for mode, key in (
        (WrapMode.TLS_CRYPT_V2, link.tls_crypt_v2),
        (WrapMode.TLS_CRYPT, link.tls_crypt),
        (WrapMode.TLS_AUTH, link.tls_auth),
    ):
        if key is not None:
            direction = link.key_direction if mode is WrapMode.TLS_AUTH else None
            return replace(draft.wrap, mode=mode, key=key, key_direction=direction)
    return draft.wrap


def _data(draft: Draft, *, is_server: bool) -> DataConfig:
    keepalive, ping_exit = macros.liveness(draft, is_server=is_server)
    data = replace(draft.data, keepalive=keepalive, ping_exit=ping_exit)
    cipher = draft.role.cipher
    if cipher is None or data.cipher_fallback:
        return data
    if cipher not in data.ciphers:
        text = f"cipher {cipher} is not in data-ciphers: only peers that cannot negotiate use it"
        source = draft.source_of("cipher")
        if source is not None:
            draft.warn(text, source)
    return replace(data, cipher_fallback=cipher)


def _host(draft: Draft) -> HostConfig:
    role = draft.role
    name = role.device or draft.host.device.name
    source = draft.source_of("dev")
    if name.startswith("tap") and not role.device_type:
        draft.fail("Ethernet tunnels (tap) are not supported", source, "use dev tun on both ends")
    elif not name.startswith("tun") and not role.device_type:
        message = f"what {name} is to be cannot be seen from its name"
        draft.fail(message, source, "add `dev-type tun`")
    device = replace(draft.host.device, name=name)
    return replace(draft.host, device=device, ifconfig=macros.own_addresses(draft))
