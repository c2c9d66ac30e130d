"""TLS engines against each other, with certificates made on the spot."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto

from ovpn6.config.schema import FileRef, TlsConfig
from ovpn6.daemon.tls_openssl import OpenSslEngine, OpenSslTls
from ovpn6.model.errors import ConfigError, Source, UsageError
from ovpn6.model.secrets import SecretBytes
from ovpn6.protocol.tls import TlsFailed
from tests.daemon.certificates import (
    CLIENT_AUTH,
    DAY,
    NOW,
    SERVER_AUTH,
    Pair,
    World,
    authority,
    child,
    inline,
    revocations,
    self_signed,
    world,
)
from tests.daemon.tls_pair import (
    client_config,
    connect,
    handshake,
    no_passphrase,
    server_config,
    side,
)


def with_client(pair: Pair) -> World:
    return World(world().ca, world().server, pair)


# --- what works ---------------------------------------------------------------------------------


def test_two_sides_of_one_authority_know_each_other() -> None:
    outcome = connect(server_config(), client_config())
    assert outcome.up
    assert outcome.server.identity.common_name == "alice"
    assert outcome.client.identity.common_name == "gateway.example.org"
    assert [facts.subject for facts in outcome.server.identity.chain] == [
        "C=AT, O=Example, CN=alice",
        "C=AT, O=Example, CN=Test CA",
    ]
    assert outcome.server.identity.chain[0].sha256 == world().client.pin
    assert outcome.server.identity.tls_version == "TLSv1.3"


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_each_version_carries_records_and_exports_the_same_keys(version: str) -> None:
    outcome = connect(server_config(tls_version_max=version), client_config())
    assert outcome.server.identity.tls_version == f"TLSv{version}"
    outcome.client.write(b"PUSH_REQUEST\0")
    outcome.client.write(b"second")
    outcome.server.feed(outcome.client.outgoing())
    assert outcome.server.records() == [b"PUSH_REQUEST\0", b"second"]
    label = "EXPORTER-OpenVPN-datakeys"
    assert outcome.server.export(label, 256) == outcome.client.export(label, 256)


def test_the_longest_record_arrives_as_one() -> None:
    outcome = connect(server_config(), client_config())
    record = os.urandom(16_384)
    outcome.server.write(record)
    outcome.client.feed(outcome.server.outgoing())
    assert outcome.client.records() == [record]


def test_a_handshake_fed_byte_by_byte_succeeds() -> None:
    server = side(server_config(), is_server=True).tls()
    client = side(client_config(), is_server=False).tls()
    server.start()
    client.start()
    while not server.established:
        for byte in client.outgoing():
            server.feed(bytes((byte,)))
        for byte in server.outgoing():
            client.feed(bytes((byte,)))
    assert client.established


def test_verified_certificates_are_logged_as_openvpn_does() -> None:
    server = side(server_config(), is_server=True)
    handshake(server, side(client_config(), is_server=False))
    assert server.lines == [
        "VERIFY OK: depth=1, C=AT, O=Example, CN=Test CA",
        "VERIFY OK: depth=0, C=AT, O=Example, CN=alice",
    ]


def test_an_intermediate_is_sent_from_the_cert_file_and_from_extra_certs() -> None:
    ca = authority()
    middle = child(ca, "Middle", usage=None, ca=True)
    made = World(ca, child(ca, "server", usage=SERVER_AUTH), child(middle, "bob"))
    together = client_config(made, cert=inline(made.client.pem + middle.pem))
    assert connect(server_config(made), together).up
    apart = client_config(made, extra_certs=inline(middle.pem))
    outcome = connect(server_config(made), apart)
    assert len(outcome.server.identity.chain) == 3
    assert not connect(server_config(made), client_config(made)).up


def test_an_encrypted_key_opens_with_its_passphrase_only() -> None:
    locked = inline(world().server.locked_key_pem(b"correct horse"))
    config = server_config(key=locked)

    def opens(passphrase: bytes) -> OpenSslTls:
        return OpenSslTls(
            config,
            is_server=True,
            passphrase=lambda what: SecretBytes(passphrase),
            log=lambda level, text: None,
        )

    assert opens(b"correct horse")().established is False
    with pytest.raises(ConfigError, match="passphrase"):
        opens(b"wrong")


def test_groups_are_restricted_on_both_sides() -> None:
    assert connect(server_config(tls_groups="X25519:secp384r1"), client_config()).up
    outcome = connect(server_config(tls_groups="secp384r1"), client_config(tls_groups="X25519"))
    assert not outcome.up


def test_tls_cipher_takes_iana_and_openssl_names() -> None:
    for name in ("TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"):
        outcome = connect(server_config(tls_version_max="1.2", tls_cipher=name), client_config())
        assert outcome.server.identity.tls_cipher == "ECDHE-ECDSA-AES128-GCM-SHA256"


def test_tls_ciphersuites_restrict_tls_1_3() -> None:
    config = server_config(tls_ciphersuites="TLS-CHACHA20-POLY1305-SHA256")
    outcome = connect(config, client_config())
    assert outcome.server.identity.tls_cipher == "TLS_CHACHA20_POLY1305_SHA256"


def test_client_certificates_may_be_optional_or_not_asked_for() -> None:
    bare = TlsConfig(ca=inline(world().ca.pem))
    for policy in ("optional", "none"):
        outcome = connect(server_config(verify_client_cert=policy), bare)
        assert outcome.up
        assert outcome.server.identity.chain == ()
    assert connect(server_config(verify_client_cert="optional"), client_config()).up


# --- what is refused ----------------------------------------------------------------------------


def test_a_client_without_certificate_is_refused() -> None:
    outcome = connect(server_config(), TlsConfig(ca=inline(world().ca.pem)))
    assert "certificate" in outcome.server_error
    assert not outcome.server.established


def test_an_optional_client_certificate_of_a_stranger_is_refused() -> None:
    stranger = child(authority("Other"), "mallory")
    outcome = connect(
        server_config(verify_client_cert="optional"), client_config(with_client(stranger))
    )
    assert not outcome.server.established


def test_a_certificate_of_another_authority_is_refused_with_an_alert() -> None:
    stranger = child(authority("Other"), "mallory")
    server = side(server_config(), is_server=True)
    outcome = handshake(server, side(client_config(with_client(stranger)), is_server=False))
    assert not outcome.server.established
    assert server.logged("VERIFY ERROR: depth=0, error=unable to get local issuer certificate")
    assert "alert" in outcome.client_error


def test_a_server_of_another_authority_is_refused() -> None:
    other = authority("Other")
    made = World(other, child(other, "gateway.example.org", usage=SERVER_AUTH), world().client)
    outcome = connect(server_config(made), client_config())
    assert not outcome.client.established
    assert outcome.client_error


def test_an_authority_of_the_same_name_but_another_key_is_refused() -> None:
    stranger = child(authority(), "alice")
    assert not connect(server_config(), client_config(with_client(stranger))).server.established


@pytest.mark.parametrize(
    ("begins", "ends", "words"),
    [(NOW - 9 * DAY, NOW - DAY, "has expired"), (NOW + DAY, NOW + 9 * DAY, "not yet valid")],
)
def test_a_certificate_out_of_its_time_is_refused(begins: object, ends: object, words: str) -> None:
    pair = child(world().ca, "late", begins=begins, ends=ends)  # type: ignore[arg-type]
    server = side(server_config(), is_server=True)
    outcome = handshake(server, side(client_config(with_client(pair)), is_server=False))
    assert not outcome.server.established
    assert server.logged(f"error=certificate {words}") or server.logged(words)


def test_versions_that_do_not_meet_fail() -> None:
    outcome = connect(server_config(tls_version_min="1.3"), client_config(tls_version_max="1.2"))
    assert outcome.failed
    assert not outcome.server.established


def test_remote_cert_tls_tells_server_from_client() -> None:
    strict = client_config(
        remote_cert_ku=(0xFFFF,), remote_cert_eku="TLS Web Server Authentication"
    )
    assert connect(server_config(), strict).up
    ca = world().ca
    impostor = World(ca, child(ca, "gateway.example.org", usage=CLIENT_AUTH), world().client)
    client = side(strict, is_server=False)
    outcome = handshake(side(server_config(impostor), is_server=True), client)
    assert not outcome.client.established


def test_key_usage_must_be_there_and_fit() -> None:
    bare = child(world().ca, "bare", key_usage=False)
    needs = server_config(remote_cert_ku=(0xFFFF,))
    assert not connect(needs, client_config(with_client(bare))).server.established
    assert connect(server_config(remote_cert_ku=(0x08, 0x80)), client_config()).up
    assert not connect(server_config(remote_cert_ku=(0x20,)), client_config()).server.established


def test_extended_key_usage_by_oid() -> None:
    wanted = server_config(remote_cert_eku="1.3.6.1.5.5.7.3.2")
    assert connect(wanted, client_config()).up
    other = server_config(remote_cert_eku="1.3.6.1.5.5.7.3.4")
    assert not connect(other, client_config()).server.established


def test_an_unknown_extended_key_usage_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="extended key usage"):
        side(server_config(remote_cert_eku="TLS Web Servre"), is_server=True)


@pytest.mark.parametrize(
    ("kind", "name", "accepted"),
    [
        ("name", "gateway.example.org", True),
        ("name", "gateway.example.com", False),
        ("name-prefix", "gateway", True),
        ("name-prefix", "other", False),
        ("subject", "C=AT, O=Example, CN=gateway.example.org", True),
        ("subject", "CN=gateway.example.org", False),
    ],
)
def test_verify_x509_name(kind: str, name: str, accepted: bool) -> None:
    config = client_config(verify_x509_name=name, verify_x509_type=kind)
    assert connect(server_config(), config).client.established is accepted


def test_verify_hash_pins_the_issuer() -> None:
    assert connect(server_config(verify_hash=(world().ca.pin,)), client_config()).up
    wrong = server_config(verify_hash=("00" * 32,))
    assert not connect(wrong, client_config()).server.established


def test_verify_hash_is_not_passed_by_a_chain_without_issuer() -> None:
    lonely = self_signed("lonely")
    config = server_config(ca=inline(lonely.pem), verify_hash=(world().ca.pin,))
    assert not connect(config, client_config(with_client(lonely))).server.established


# --- fingerprints -------------------------------------------------------------------------------


def test_fingerprints_replace_an_authority() -> None:
    ours, theirs = self_signed("server"), self_signed("client")
    server = TlsConfig(
        cert=inline(ours.pem), key=inline(ours.key_pem), peer_fingerprint=("11" * 32, theirs.pin)
    )
    client = TlsConfig(
        cert=inline(theirs.pem), key=inline(theirs.key_pem), peer_fingerprint=(ours.pin,)
    )
    outcome = connect(server, client)
    assert outcome.up
    assert outcome.server.identity.common_name == "client"


def test_a_certificate_that_is_not_pinned_is_refused() -> None:
    ours, theirs = self_signed("server"), self_signed("client")
    server = TlsConfig(
        cert=inline(ours.pem), key=inline(ours.key_pem), peer_fingerprint=("11" * 32,)
    )
    client = TlsConfig(
        cert=inline(theirs.pem), key=inline(theirs.key_pem), peer_fingerprint=(ours.pin,)
    )
    assert not connect(server, client).server.established


def test_a_pinned_certificate_in_the_chain_does_not_vouch_for_another_leaf() -> None:
    ours, pinned, mallory = self_signed("server"), self_signed("client"), self_signed("mallory")
    server = TlsConfig(
        cert=inline(ours.pem), key=inline(ours.key_pem), peer_fingerprint=(pinned.pin,)
    )
    client = TlsConfig(
        cert=inline(mallory.pem),
        key=inline(mallory.key_pem),
        extra_certs=inline(pinned.pem),
        peer_fingerprint=(ours.pin,),
    )
    assert not connect(server, client).server.established


def test_with_an_authority_the_pin_is_asked_for_as_well() -> None:
    assert connect(server_config(peer_fingerprint=(world().client.pin,)), client_config()).up
    other = server_config(peer_fingerprint=(world().server.pin,))
    assert not connect(other, client_config()).server.established
    stranger = child(authority("Other"), "mallory")
    pinned_stranger = server_config(peer_fingerprint=(stranger.pin,))
    assert not connect(pinned_stranger, client_config(with_client(stranger))).server.established


# --- revocation ---------------------------------------------------------------------------------


def crl_file(path: Path, text: str, age: int = 0) -> FileRef:
    path.write_text(text)
    os.utime(path, ns=(age, age))
    return FileRef(Source("server.conf", 7), path=path)


def test_a_revoked_certificate_is_refused(tmp_path: Path) -> None:
    ref = crl_file(tmp_path / "crl.pem", revocations(world().ca, world().client))
    server = side(server_config(crl_verify=ref), is_server=True)
    outcome = handshake(server, side(client_config(), is_server=False))
    assert not outcome.server.established
    assert server.logged(
        "VERIFY ERROR: depth=0, error=certificate revoked: C=AT, O=Example, CN=alice, serial="
    )
    assert "certificate revoked" in outcome.client_error or "alert" in outcome.client_error


def test_the_crl_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "crl.pem"
    server = side(
        server_config(crl_verify=crl_file(path, revocations(world().ca), 1)), is_server=True
    )
    client = side(client_config(), is_server=False)
    assert handshake(server, client).up
    crl_file(path, revocations(world().ca, world().client), 2)
    assert not handshake(server, client).server.established
    crl_file(path, revocations(world().ca), 3)
    assert handshake(server, client).up


def test_an_expired_crl_lets_nobody_in(tmp_path: Path) -> None:
    old = revocations(world().ca, updated=NOW - 9 * DAY, due=NOW - DAY)
    server = side(server_config(crl_verify=crl_file(tmp_path / "crl", old)), is_server=True)
    assert not handshake(server, side(client_config(), is_server=False)).server.established
    assert server.logged("CRL has expired")


def test_a_crl_signed_by_another_key_lets_nobody_in(tmp_path: Path) -> None:
    forged = revocations(authority())
    server = side(server_config(crl_verify=crl_file(tmp_path / "crl", forged)), is_server=True)
    assert not handshake(server, side(client_config(), is_server=False)).server.established


def test_a_crl_that_turns_to_garbage_lets_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "crl.pem"
    server = side(
        server_config(crl_verify=crl_file(path, revocations(world().ca), 1)), is_server=True
    )
    client = side(client_config(), is_server=False)
    assert handshake(server, client).up
    crl_file(path, "garbage", 2)
    assert not handshake(server, client).server.established
    assert server.logged("VERIFY ERROR: CRL not loaded")
    crl_file(path, revocations(world().ca), 3)
    assert handshake(server, client).up


def test_a_crl_that_vanishes_keeps_its_last_word(tmp_path: Path) -> None:
    path = tmp_path / "crl.pem"
    revoked = crl_file(path, revocations(world().ca, world().client), 1)
    server = side(server_config(crl_verify=revoked), is_server=True)
    path.unlink()
    assert not handshake(server, side(client_config(), is_server=False)).server.established
    assert server.logged("Failed to stat CRL file")


def test_a_crl_without_crl_at_the_start_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"server\.conf:7"):
        side(server_config(crl_verify=crl_file(tmp_path / "crl", "garbage")), is_server=True)


def test_a_serial_in_the_crl_directory_is_revoked(tmp_path: Path) -> None:
    server = side(server_config(crl_verify_dir=tmp_path), is_server=True)
    client = side(client_config(), is_server=False)
    assert handshake(server, client).up
    (tmp_path / str(world().client.certificate.serial_number)).touch()
    assert not handshake(server, client).server.established
    assert server.logged("is revoked")


# --- subjects -----------------------------------------------------------------------------------


def named(*attributes: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])


def test_control_characters_do_not_leave_the_subject() -> None:
    subject = named((NameOID.ORGANIZATION_NAME, "a\nb"), (NameOID.COMMON_NAME, "eve\n2026 fake"))
    pair = child(world().ca, "", subject=subject)
    outcome = connect(server_config(), client_config(with_client(pair)))
    assert outcome.up
    facts = outcome.server.identity.chain[0]
    assert facts.common_name == "eve_2026 fake"
    assert facts.subject == "O=a\\0Ab, CN=eve\\0A2026 fake"
    assert "\n" not in "".join(facts.fields.values())


def test_the_last_common_name_counts_and_repetitions_are_numbered() -> None:
    subject = named((NameOID.COMMON_NAME, "first"), (NameOID.COMMON_NAME, "second"))
    outcome = connect(
        server_config(), client_config(with_client(child(world().ca, "", subject=subject)))
    )
    facts = outcome.server.identity.chain[0]
    assert facts.common_name == "second"
    assert facts.fields == {"CN": "first", "CN_1": "second"}


def test_a_certificate_without_common_name_is_refused() -> None:
    subject = named((NameOID.ORGANIZATION_NAME, "nameless"))
    pair = child(world().ca, "", subject=subject)
    server = side(server_config(), is_server=True)
    outcome = handshake(server, side(client_config(with_client(pair)), is_server=False))
    assert not outcome.server.established
    assert server.logged("could not extract CN")


# --- limits of use ------------------------------------------------------------------------------


def test_write_before_the_handshake_is_our_own_error() -> None:
    with pytest.raises(UsageError):
        side(server_config(), is_server=True).tls().write(b"early")


def test_garbage_fails_and_stays_failed() -> None:
    engine = side(server_config(), is_server=True).tls()
    engine.start()
    with pytest.raises(TlsFailed):
        engine.feed(b"\x16\x03\x01\xff\xff" + os.urandom(300))
    with pytest.raises(TlsFailed):
        engine.feed(b"more")


def test_a_mangled_record_fails() -> None:
    outcome = connect(server_config(), client_config())
    outcome.client.write(b"hello")
    data = bytearray(outcome.client.outgoing())
    data[-1] ^= 1
    outcome.server.feed(bytes(data))
    with pytest.raises(TlsFailed):
        outcome.server.records()


def test_a_certificate_that_cannot_be_parsed_is_refused() -> None:
    pair = self_signed("mallory")
    der = bytearray(pair.certificate.public_bytes(Encoding.DER))
    version = der.index(bytes.fromhex("a003020102")) + 4
    der[version] = 5
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate(crypto.load_certificate(crypto.FILETYPE_ASN1, bytes(der)))
    context.use_privatekey(pair.key)
    client = SSL.Connection(context, None)
    client.set_connect_state()
    server = side(server_config(), is_server=True)
    engine = server.tls()
    engine.start()
    move(client, engine)
    with pytest.raises(TlsFailed, match="unreadable certificate"):
        move(client, engine)
    assert server.logged("unreadable certificate")


def test_renegotiation_inside_tls_is_refused() -> None:
    engine = side(server_config(tls_version_max="1.2"), is_server=True).tls()
    engine.start()
    client = raw_client()
    while not engine.established:
        move(client, engine)
    client.do_handshake()
    client.renegotiate()
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    engine.feed(client.bio_read(65_536))
    assert engine.records() == []
    client.bio_write(engine.outgoing())
    with pytest.raises(SSL.Error) as refusal:
        client.do_handshake()
    assert "no renegotiation" in str(refusal.value)


def raw_client() -> SSL.Connection:
    """A client that may ask for things our engine never would."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.use_certificate(world().client.certificate)
    context.use_privatekey(world().client.key)
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    return connection


def move(client: SSL.Connection, engine: OpenSslEngine) -> None:
    with suppress(SSL.Error):
        client.do_handshake()
    with suppress(SSL.WantReadError):
        engine.feed(client.bio_read(65_536))
    if answer := engine.outgoing():
        client.bio_write(answer)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (TlsConfig(), "nothing to verify"),
        (client_config(ca=inline("no certificate here")), "ca: no certificate"),
        (client_config(key=inline("no key")), "key: no private key"),
        (client_config(key=inline(world().server.key_pem)), "does not match"),
        (client_config(tls_cipher="NO-SUCH-CIPHER"), "cipher list"),
        (client_config(tls_groups="no-such-group"), "group list"),
        (client_config(key=None), "without its key"),
        (
            client_config(ca=FileRef(Source("c.conf", 3), path=Path("/nonexistent/ca.pem"))),
            r"c\.conf:3: ca: /nonexistent/ca\.pem: No such file",
        ),
    ],
)
def test_what_cannot_be_used_is_a_config_error(config: TlsConfig, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        OpenSslTls(config, is_server=False, passphrase=no_passphrase, log=lambda a, b: None)


def test_our_own_expired_certificate_is_told_at_the_start() -> None:
    ca = world().ca
    old = child(ca, "old", begins=NOW - 9 * DAY, ends=NOW - timedelta(hours=1))
    server = side(server_config(World(ca, old, world().client)), is_server=True)
    assert server.lines == ["WARNING: Your certificate has expired!"]
