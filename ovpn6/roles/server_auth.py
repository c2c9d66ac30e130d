"""Whether a client is who it says: certificate, password, token, at each key exchange. PURE.

The order and the rules are OpenVPN's (``ssl.c`` key_method_2_read, ``ssl_verify.c``
verify_user_pass, verify_final_auth_checks). TLS has already verified the certificate as far as the
policy asks. A password goes to the script and nowhere else.
"""

from __future__ import annotations

from ovpn6.model.flow import ClientConfigRead, ReadClientConfig, ScriptPending
from ovpn6.model.identity import PeerIdentity
from ovpn6.model.names import Instant, KeyId, Level
from ovpn6.model.secrets import SecretBytes
from ovpn6.model.specs import ScriptCall, ScriptResult
from ovpn6.protocol import messages
from ovpn6.protocol.events import Hello
from ovpn6.protocol.negotiation_rules import PeerCapabilities
from ovpn6.roles import server_connect, server_data
from ovpn6.roles.auth_token import SESSION_ID_SIZE, TokenRejected, TokenSession, is_token
from ovpn6.roles.script_env import printable
from ovpn6.roles.server_core import Job, JobKind, ServerCore
from ovpn6.roles.server_keys import KeyFact
from ovpn6.roles.server_leave import drop, refuse
from ovpn6.roles.server_peer import PeerEvent, PeerState, ServerPeer
from ovpn6.roles.server_scripts import base_environment, stranger_environment

NAME_LIMIT = 64
"""Longest common name, and longest user name that becomes one."""
_PENDING_METHODS = {"OPEN_URL": "openurl", "WEB_AUTH": "webauth", "CR_TEXT": "crtext"}
"""First word of an ``auth_pending_file`` text that names no method, and what IV_SSO must list."""


def start_metadata_check(core: ServerCore, peer: ServerPeer, metadata: bytes) -> None:
    """A tls-crypt-v2 client came: its key's metadata (type byte first) goes to the script."""
    command = core.config.wrap.tls_crypt_v2_verify
    if not command:
        return
    peer.waiting.verdicts += 1
    environment = base_environment(core)
    environment["metadata_type"] = str(metadata[0]) if metadata else "0"
    core.run(
        Job(JobKind.VERIFY_METADATA, peer.peer),
        ScriptCall(
            "tls-crypt-v2-verify",
            command,
            environment=environment,
            secret_input=SecretBytes(metadata[1:]),
            input_variable="metadata_file",
        ),
    )


def hello(core: ServerCore, peer: ServerPeer, said: Hello, now: Instant) -> None:
    """The peer's half of a key exchange: judge it, at once or by a script."""
    if peer.ending:
        return
    first = peer.state is PeerState.HANDSHAKE
    try:
        if first:
            _introduce(core, peer, said)
        else:
            _check_unchanged(peer, said)
        asked = _check_password(core, peer, said, now)
    except _Refused as refused:
        refuse(core, peer, now, refused.why, refused.client_reason)
        return
    if first and peer.waiting.verdicts:
        peer.advance(PeerEvent.MUST_VERIFY)
    elif not asked:
        verified(core, peer, said.key_id, now)


def password_judged(
    core: ServerCore, peer: ServerPeer, key_id: KeyId, result: ScriptResult, now: Instant
) -> None:
    """The auth-user-pass-verify script has decided."""
    if not result.ok:
        refuse(core, peer, now, f"password of {peer.person.login!r} is wrong", result.reason)
        return
    core.log(Level.INFO, f"password of {peer.person.login!r} is right", peer)
    if peer.state is PeerState.VERIFYING:
        peer.waiting.verdicts -= 1
        if peer.waiting.verdicts:
            return
    verified(core, peer, key_id, now)


def metadata_judged(core: ServerCore, peer: ServerPeer, result: ScriptResult, now: Instant) -> None:
    """The tls-crypt-v2-verify script has decided; a refused client gets no answer."""
    if not result.ok:
        drop(core, peer, now, "tls-crypt-v2-verify refused the client key")
        return
    peer.waiting.verdicts -= 1
    if peer.state is PeerState.VERIFYING and not peer.waiting.verdicts:
        verified(core, peer, KeyId(0), now)


def pending(core: ServerCore, peer: ServerPeer, asked: ScriptPending, now: Instant) -> None:
    """The script needs the user to do something: tell the client, and wait longer."""
    capabilities = peer.person.capabilities
    method = asked.method or _PENDING_METHODS.get(asked.text.partition(":")[0])
    supported = peer.person.peer_info.get("IV_SSO", "").split(",")
    if capabilities is None or method is None or method not in supported:
        refuse(
            core,
            peer,
            now,
            f"client cannot do the pending authentication {method!r}",
            f"Authentication failed; pending method {method!r} is not supported",
        )
        return
    control = core.config.control
    longest = max(control.reneg_sec // 2, control.hand_window)
    timeout = max(1, min(asked.timeout, int(longest - (now - peer.created))))
    text = messages.auth_pending(timeout) if capabilities.auth_pending else "AUTH_PENDING"
    for message in (text, messages.info_pre(printable(asked.text))):
        core.enqueue(peer, peer.connection.send_message(message, now))
    if not peer.admitted:
        peer.waiting.deadline = Instant(now + timeout)
    core.touch(peer)


def verified(core: ServerCore, peer: ServerPeer, key_id: KeyId, now: Instant) -> None:
    """The client proved itself under a key id."""
    if peer.ending:
        return
    if not peer.admitted:
        if core.server.username_as_common_name and core.config.scripts.auth_user_pass_verify:
            peer.person.common_name = peer.person.username
        _renew_token(core, peer, now)
        peer.keys.learn(key_id, KeyFact.VERIFIED)
        peer.advance(PeerEvent.VERIFIED)
        _log_person(core, peer)
        server_connect.begin(core, peer, now)
        return
    if core.server.ccd_exclusive:
        job = core.start(Job(JobKind.RECHECK_CLIENT_CONFIG, peer.peer, key_id))
        core.emit(ReadClientConfig(job, peer.person.common_name))
        return
    _verified_again(core, peer, key_id, now)


def recheck_read(
    core: ServerCore, peer: ServerPeer, key_id: KeyId, answer: ClientConfigRead, now: Instant
) -> None:
    """``ccd-exclusive`` holds at each key exchange: a client whose file is gone is refused."""
    if not server_connect.has_own_file(answer):
        refuse(core, peer, now, "ccd-exclusive: the client has no file any more")
        return
    _verified_again(core, peer, key_id, now)


def send_new_token(core: ServerCore, peer: ServerPeer, now: Instant) -> None:
    """Replace the client's token by a fresh one."""
    _renew_token(core, peer, now)
    if peer.person.token is not None:
        server_data.push_token(core, peer, now)


class _Refused(Exception):
    """Why a client may not connect: for our log, and for the client."""

    def __init__(self, why: str, client_reason: str = "") -> None:
        self.why = why
        self.client_reason = client_reason
        super().__init__(why)


def _verified_again(core: ServerCore, peer: ServerPeer, key_id: KeyId, now: Instant) -> None:
    server_data.key_fact(core, peer, key_id, KeyFact.VERIFIED)
    if peer.state is PeerState.ACTIVE:
        send_new_token(core, peer, now)


def _introduce(core: ServerCore, peer: ServerPeer, said: Hello) -> None:
    """Take down who a new client is."""
    person = peer.person
    person.identity = said.identity
    person.peer_info = dict(said.peer_info)
    person.options = said.options
    person.capabilities = PeerCapabilities.parse(said.peer_info, said.options)
    person.common_name = _common_name(core, said.identity)


def _log_person(core: ServerCore, peer: ServerPeer) -> None:
    identity = peer.person.identity
    for name, value in peer.person.peer_info.items():
        core.log(Level.INFO, f"peer info: {name}={value[:200]}", peer)
    how = f"{identity.tls_version} {identity.tls_cipher}".strip() or "TLS"
    core.log(Level.NOTICE, f"authenticated, {how}", peer)
    who = f"[{peer.person.common_name}] " if peer.person.common_name else ""
    core.log(Level.NOTICE, f"{who}Peer Connection Initiated with {peer.path}", peer)


def _common_name(core: ServerCore, identity: PeerIdentity) -> str:
    if not identity.chain:
        if core.config.tls.verify_client_cert == "require":
            raise _Refused("no client certificate")
        return ""
    name = identity.common_name
    if not name or len(name) > NAME_LIMIT:
        field = core.config.tls.x509_username_field
        raise _Refused(f"certificate field {field} is empty or longer than {NAME_LIMIT}")
    return printable(name)


def _check_unchanged(peer: ServerPeer, said: Hello) -> None:
    """Certificates are locked, and with them the name."""
    if not peer.admitted:
        raise _Refused("renegotiation before the client was let in")
    known = [certificate.sha256 for certificate in peer.person.identity.chain]
    shown = [certificate.sha256 for certificate in said.identity.chain]
    if known != shown:
        raise _Refused("certificate changed at renegotiation")


def _check_password(core: ServerCore, peer: ServerPeer, said: Hello, now: Instant) -> bool:
    """Whether a script was asked. Raises ``_Refused``."""
    command = core.config.scripts.auth_user_pass_verify
    if not command:
        return False
    username = printable(said.username)
    password = _printable_secret(said.password)
    if not username or not len(password):
        if not core.server.auth_user_pass_optional:
            raise _Refused("no user name and password")
        username, password = "", SecretBytes(b"")
    if core.server.username_as_common_name and len(username) > NAME_LIMIT:
        raise _Refused(f"user name longer than {NAME_LIMIT} cannot be a common name")
    if peer.state is PeerState.HANDSHAKE:
        peer.person.login = peer.person.username = username
    elif username not in (peer.person.login, peer.person.username):
        raise _Refused("user name changed at renegotiation")
    if core.tokens is not None and is_token(password):
        _check_token(core, peer, username, password, now)
        return False
    _ask_script(core, peer, said.key_id, username, password, now)
    return True


def _check_token(
    core: ServerCore, peer: ServerPeer, username: str, token: SecretBytes, now: Instant
) -> None:
    assert core.tokens is not None
    known = peer.person.token_session
    try:
        session = core.tokens.check(username, token, int(core.wall(now)), known)
    except TokenRejected as rejected:
        raise _Refused(f"auth-token of {username!r}: {rejected}", rejected.client_reason) from None
    peer.person.token_session = session
    core.log(Level.INFO, f"auth-token of {username!r} is right", peer)


def _ask_script(
    core: ServerCore,
    peer: ServerPeer,
    key_id: KeyId,
    username: str,
    password: SecretBytes,
    now: Instant,
) -> None:
    scripts = core.config.scripts
    environment = stranger_environment(core, peer)
    if core.tokens is not None:
        session = _token_session(core, peer, now)
        environment |= {"session_state": "Initial", "session_id": str(session)}
    via_file = scripts.auth_user_pass_verify_method == "via-file"
    environment["username"] = username
    lines = b"".join((username.encode(), b"\n", password.reveal(), b"\n"))
    core.run(
        Job(JobKind.VERIFY_PASSWORD, peer.peer, key_id),
        ScriptCall(
            "auth-user-pass-verify",
            scripts.auth_user_pass_verify,
            environment=environment,
            secret_environment={} if via_file else {"password": password},
            secret_input=SecretBytes(lines) if via_file else None,
            deferrable=True,
        ),
    )
    if peer.state is PeerState.HANDSHAKE:
        peer.waiting.verdicts += 1


def _token_session(core: ServerCore, peer: ServerPeer, now: Instant) -> TokenSession:
    person = peer.person
    if person.token_session is None:
        session_id = core.context.entropy(SESSION_ID_SIZE)
        person.token_session = TokenSession(session_id, int(core.wall(now)))
    return person.token_session


def _renew_token(core: ServerCore, peer: ServerPeer, now: Instant) -> None:
    """A token for whoever logged in with a user name."""
    person = peer.person
    if core.tokens is None or not person.username:
        return
    session = _token_session(core, peer, now)
    person.token = core.tokens.issue(person.username, session, int(core.wall(now)))
    renewal = core.tokens.renewal
    if renewal and renewal < core.config.control.reneg_sec:
        peer.waiting.token_due = Instant(now + renewal)
        core.touch(peer)


def _printable_secret(secret: SecretBytes) -> SecretBytes:
    return SecretBytes(bytes(b if b >= 32 and b != 127 else ord("_") for b in secret.reveal()))
