"""Passwords, tokens, and what must not change at renegotiation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path as FilePath

import pytest

from ovpn6.config.schema import ControlConfig, ScriptsConfig, ServerConfig, TlsConfig
from ovpn6.model.flow import RunScript, ScriptFinished, ScriptPending
from ovpn6.model.names import KeyId, KeySlot
from ovpn6.model.secrets import SecretBytes
from ovpn6.model.specs import ScriptResult
from ovpn6.protocol.connection import Credentials
from tests.roles.server_site import (
    NO,
    PEER_INFO_26,
    SERVER,
    YES,
    Site,
    SiteClient,
    config_of,
    identity_of,
)

VERIFY = ScriptsConfig(auth_user_pass_verify=("/verify", "arg"), client_disconnect=("/gone",))
TOKENS = replace(SERVER, auth_gen_token=True)
KIND = "auth-user-pass-verify"


def login(name: str = "user", password: str = "sesame") -> Credentials:
    return Credentials(name, SecretBytes(password.encode()))


def site_with(
    server: ServerConfig = SERVER, scripts: ScriptsConfig = VERIFY, **more: object
) -> Site:
    return Site(config_of(server, scripts=scripts, **more))  # type: ignore[arg-type]


def token_of(client: SiteClient) -> str:
    return [o for o in client.options if o.startswith("auth-token ")][-1].split()[1]


def test_password_goes_to_the_script_and_nowhere_else() -> None:
    site = site_with()
    client = site.connected(credentials=login())
    assert client.options
    [call] = site.ran(KIND)
    assert call.command == ("/verify", "arg")
    assert call.deferrable
    assert call.environment["username"] == "user"
    assert call.environment["untrusted_ip6"] == "2001:db8:ff::1"
    assert call.environment["X509_0_CN"] == "alice"
    assert call.secret_environment["password"].reveal() == b"sesame"
    assert "password" not in call.environment
    assert "sesame" not in site.log()
    assert not any("sesame" in repr(action) for action in site.actions)


def test_via_file_gives_the_script_two_lines() -> None:
    scripts = replace(VERIFY, auth_user_pass_verify_method="via-file")
    site = site_with(scripts=scripts)
    site.connected(credentials=login())
    [call] = site.ran(KIND)
    assert call.secret_input is not None
    assert call.secret_input.reveal() == b"user\nsesame\n"
    assert call.environment["username"] == "user"
    assert not call.secret_environment


def test_control_characters_cannot_make_a_third_line() -> None:
    scripts = replace(VERIFY, auth_user_pass_verify_method="via-file")
    site = site_with(scripts=scripts)
    site.connected(credentials=login("us\ner", "ses\r\name"))
    [call] = site.ran(KIND)
    assert call.secret_input is not None
    assert call.secret_input.reveal() == b"us_er\nses__ame\n"


def test_wrong_password_is_refused_with_the_scripts_reason_and_forgotten() -> None:
    site = site_with()
    site.scripts[KIND] = ScriptResult(ok=False, exit_code=1, reason="no,\nreally")
    client = site.client(credentials=login())
    client.begin()
    assert client.refusals == ["AUTH_FAILED,no;_really"]
    assert not site.datapath.peers
    assert site.ran("client-disconnect") == []
    site.pass_time(6)
    assert site.role.next_deadline() is None


def test_missing_password_is_refused_without_asking_the_script() -> None:
    site = site_with()
    client = site.client()
    client.begin()
    assert client.refusals == ["AUTH_FAILED"]
    assert site.calls == []


def test_optional_password_lets_the_script_decide() -> None:
    site = site_with(replace(SERVER, auth_user_pass_optional=True))
    assert site.connected().options
    [call] = site.ran(KIND)
    assert call.environment["username"] == ""


def test_others_are_served_while_a_script_thinks() -> None:
    site = site_with()
    site.scripts[KIND] = None
    slow = site.client("slow", credentials=login())
    slow.begin()
    site.scripts[KIND] = YES
    assert site.connected("quick", credentials=login()).options
    assert not slow.options
    site.answer(KIND)
    assert slow.options


def test_client_that_goes_while_the_script_thinks_leaves_nothing() -> None:
    site = site_with()
    site.scripts[KIND] = None
    client = site.client(credentials=login())
    client.begin()
    job = site.job(KIND)
    client.say("EXIT")
    assert not site.waiting
    site.give(ScriptFinished(job, YES))
    assert not client.options
    assert not site.datapath.peers


def test_user_name_becomes_the_common_name() -> None:
    site = site_with(replace(SERVER, username_as_common_name=True))
    site.connected("alice", credentials=login("bob"))
    assert site.role.status().peers[0].common_name == "bob"
    second = site.connected("carol", credentials=login("bob"))
    assert list(site.datapath.peers) == [second.peer]


def test_user_name_too_long_for_a_common_name_is_refused() -> None:
    site = site_with(replace(SERVER, username_as_common_name=True))
    client = site.client(credentials=login("x" * 65))
    client.begin()
    assert client.refusals
    assert site.calls == []


def test_override_username_names_the_client() -> None:
    server = replace(SERVER, client_config_dir=FilePath("/ccd"), username_as_common_name=True)
    site = site_with(server)
    site.files["user"] = "override-username boss\n"
    client = site.connected(credentials=login())
    [peer] = site.role.status().peers
    assert (peer.common_name, peer.username) == ("boss", "boss")
    client.renegotiate()
    assert site.datapath.keys[client.peer][KeySlot.PRIMARY] == 1


def test_client_without_certificate_is_refused_unless_allowed() -> None:
    site = site_with(scripts=ScriptsConfig())
    client = site.client("")
    client.begin()
    assert client.refusals == ["AUTH_FAILED"]
    config = replace(config_of(scripts=VERIFY), tls=TlsConfig(verify_client_cert="none"))
    assert Site(config).connected("", credentials=login()).options


def test_common_name_beyond_sixty_four_characters_is_refused() -> None:
    client = site_with(scripts=ScriptsConfig()).client("x" * 65)
    client.begin()
    assert client.refusals


# --- pending ----------------------------------------------------------------------------------


def pending(site: Site, text: str = "WEB_AUTH::https://[2001:db8::1]/", timeout: int = 120) -> None:
    site.give(ScriptPending(site.job(KIND), timeout, text, "webauth"))


def test_pending_authentication_is_told_and_waited_for() -> None:
    site = site_with()
    site.scripts[KIND] = None
    client = site.client(credentials=login())
    client.begin()
    pending(site)
    assert client.messages == [
        "AUTH_PENDING,timeout 60",
        "INFO_PRE,WEB_AUTH::https://[2001:db8::1]/",
    ]
    site.pass_time(50)
    site.answer(KIND)
    assert client.options


def test_pending_authentication_may_outlast_the_hand_window() -> None:
    site = site_with(control=ControlConfig(reneg_sec=3600))
    site.scripts[KIND] = None
    client = site.client(credentials=login())
    client.begin()
    pending(site)
    assert client.messages[0] == "AUTH_PENDING,timeout 120"
    site.pass_time(110)
    site.answer(KIND)
    assert client.options


def test_pending_method_that_the_client_lacks_is_refused() -> None:
    site = site_with()
    site.scripts[KIND] = None
    client = site.client(credentials=login(), info={**PEER_INFO_26, "IV_SSO": "crtext"})
    client.begin()
    pending(site)
    assert "webauth" in client.refusals[0]


# --- tokens -----------------------------------------------------------------------------------


def test_token_is_pushed_never_logged_and_good_instead_of_the_password() -> None:
    site = site_with(TOKENS)
    first = site.connected(credentials=login())
    token = token_of(first)
    assert token.startswith("SESS_ID_AT_")
    assert token not in site.log()
    assert site.calls[0].environment["session_state"] == "Initial"
    assert token[11:27] == site.calls[0].environment["session_id"]
    site.calls.clear()
    again = site.connected(credentials=login(password=token))
    assert again.options
    assert site.ran(KIND) == []
    assert token_of(again)[11:27] == token[11:27]


def test_token_of_another_user_is_refused() -> None:
    site = site_with(TOKENS)
    token = token_of(site.connected(credentials=login()))
    thief = site.client("bob", credentials=login("other", token))
    thief.begin()
    assert thief.refusals == ["AUTH_FAILED"]
    assert len(site.ran(KIND)) == 1


def test_expired_token_asks_for_the_password_again() -> None:
    site = site_with(replace(TOKENS, auth_gen_token_lifetime=100))
    first = site.connected(credentials=login())
    token = token_of(first)
    first.say("EXIT")
    site.pass_time(101)
    again = site.client(credentials=login(password=token))
    again.begin()
    assert again.refusals == ["AUTH_FAILED,SESSION: token expired"]


def test_tokens_of_the_same_secret_outlive_a_restart() -> None:
    body = SecretBytes(
        b"-----BEGIN OpenVPN auth-token server key-----\n"
        + b"A" * 171
        + b"=\n-----END OpenVPN auth-token server key-----\n"
    )
    config = config_of(TOKENS, scripts=VERIFY)
    token = token_of(Site(config, token_secret=body).connected(credentials=login()))
    later = Site(config, token_secret=body)
    assert later.connected(credentials=login(password=token)).options
    assert later.ran(KIND) == []
    other = Site(config).client(credentials=login(password=token))
    other.begin()
    assert other.refusals


def test_renewed_token_is_sent_in_time() -> None:
    server = replace(TOKENS, auth_gen_token_renewal=100)
    site = site_with(server, control=ControlConfig(reneg_sec=3600, reneg_sec_min=3600))
    client = site.connected(credentials=login())
    first = token_of(client)
    site.pass_time(101)
    assert token_of(client) != first
    assert token_of(client)[11:39] == first[11:39]


# --- renegotiation ----------------------------------------------------------------------------


def test_password_is_checked_again_at_renegotiation() -> None:
    site = site_with()
    client = site.connected(credentials=login())
    site.scripts[KIND] = None
    client.renegotiate()
    assert site.datapath.keys[client.peer] == {KeySlot.PRIMARY: 0}
    site.answer(KIND)
    assert site.datapath.keys[client.peer] == {KeySlot.PRIMARY: 1, KeySlot.SECONDARY: 0}


def test_password_that_is_wrong_at_renegotiation_ends_the_client() -> None:
    site = site_with()
    client = site.connected(credentials=login())
    site.scripts[KIND] = NO
    client.renegotiate()
    assert client.refusals == ["AUTH_FAILED"]
    assert not site.datapath.peers
    assert len(site.ran("client-disconnect")) == 1


def test_token_is_good_and_renewed_at_renegotiation() -> None:
    site = site_with(TOKENS)
    client = site.connected(credentials=login())
    first = token_of(client)
    client.connection.set_credentials(login(password=first))
    site.pass_time(10)
    client.renegotiate()
    assert len(site.ran(KIND)) == 1
    assert token_of(client) != first
    assert site.datapath.keys[client.peer][KeySlot.PRIMARY] == 1


CHANGES: list[Callable[[SiteClient], None]] = [
    lambda client: setattr(client, "identity", identity_of("mallory")),
    lambda client: client.connection.set_credentials(login("another")),
]


@pytest.mark.parametrize("change", CHANGES)
def test_certificate_and_user_name_must_not_change(change: Callable[[SiteClient], None]) -> None:
    site = site_with()
    client = site.connected(credentials=login())
    change(client)
    client.renegotiate()
    assert client.refusals == ["AUTH_FAILED"]
    assert not site.datapath.peers
    assert len(site.ran(KIND)) == 1


def test_file_that_is_gone_ends_a_client_of_ccd_exclusive_at_renegotiation() -> None:
    server = replace(SERVER, client_config_dir=FilePath("/ccd"), ccd_exclusive=True)
    site = site_with(server, scripts=ScriptsConfig())
    site.files["alice"] = ""
    client = site.connected()
    client.renegotiate()
    assert site.datapath.keys[client.peer][KeySlot.PRIMARY] == KeyId(1)
    del site.files["alice"]
    client.renegotiate()
    assert client.refusals == ["AUTH_FAILED"]


def test_no_action_ever_prints_a_password() -> None:
    site = site_with(TOKENS)
    client = site.connected(credentials=login())
    secrets = (token_of(client), "sesame")
    for action in site.actions:
        if isinstance(action, RunScript):
            assert not any(secret in repr(action) for secret in secrets)
