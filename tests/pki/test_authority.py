"""The authority: what it issues, what it refuses, and that OpenSSL agrees."""

from __future__ import annotations

import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from ovpn6.model.errors import ConfigError
from ovpn6.pki.authority import Authority
from ovpn6.pki.certificates import KeyType
from ovpn6.pki.profile import ClientProfile, RemoteLine, ServerProfile, Wrap

REMOTE = (RemoteLine("2001:db8::1", protocol="udp6"),)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "pki")


def openssl_verify(
    authority: Authority, name: str, purpose: str
) -> subprocess.CompletedProcess[str]:
    files = authority.files
    return subprocess.run(
        [
            *("openssl", "verify", "-x509_strict", "-purpose", purpose, "-crl_check"),
            *("-CAfile", str(files.ca_certificate), "-CRLfile", str(files.crl)),
            str(files.issued(name)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("key_type", list(KeyType))
def test_openssl_accepts_each_certificate_for_its_purpose_only(
    tmp_path: Path, key_type: KeyType
) -> None:
    authority = Authority.create(tmp_path, key_type)
    authority.issue_server("gateway")
    authority.issue_client("laptop")
    assert openssl_verify(authority, "gateway", "sslserver").returncode == 0
    assert openssl_verify(authority, "laptop", "sslclient").returncode == 0
    assert openssl_verify(authority, "gateway", "sslclient").returncode != 0
    assert openssl_verify(authority, "laptop", "sslserver").returncode != 0


def test_certificates_use_the_key_type_of_their_authority(tmp_path: Path) -> None:
    p256 = Authority.create(tmp_path / "p256", KeyType.P256).issue_client("a")
    edwards = Authority.create(tmp_path / "edwards", KeyType.ED25519).issue_client("a")
    p256_key = load(p256.certificate).public_key()
    assert isinstance(p256_key, ec.EllipticCurvePublicKey)
    assert p256_key.curve.name == "secp256r1"
    assert isinstance(load(edwards.certificate).public_key(), ed25519.Ed25519PublicKey)


def test_certificates_say_what_remote_cert_tls_asks_for(authority: Authority) -> None:
    certificate = load(authority.issue_server("gateway").certificate)
    extensions = certificate.extensions
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.SERVER_AUTH
    ]
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    ca = load(authority.files.ca_certificate)
    ca_id = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    issuer = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert issuer.key_identifier == ca_id


def test_serial_numbers_differ_and_are_large(authority: Authority) -> None:
    serials = {
        load(authority.issue_client(f"c{number}").certificate).serial_number for number in range(5)
    }
    assert len(serials) == 5
    assert min(serials) > 2**64


def test_a_revoked_certificate_is_on_the_list_and_openssl_refuses_it(authority: Authority) -> None:
    authority.issue_client("laptop")
    authority.issue_client("phone")
    authority.revoke("laptop")
    assert "revoked" in openssl_verify(authority, "laptop", "sslclient").stderr
    assert openssl_verify(authority, "phone", "sslclient").returncode == 0


def test_revoking_ends_every_certificate_of_a_renewed_name(authority: Authority) -> None:
    first = load(authority.issue_client("laptop").certificate).serial_number
    second = load(authority.issue_client("laptop", force=True).certificate).serial_number
    authority.revoke("laptop")
    crl = x509.load_pem_x509_crl(authority.files.crl.read_bytes())
    assert {entry.serial_number for entry in crl} == {first, second}


def test_a_name_can_be_used_again_after_its_revocation(authority: Authority) -> None:
    authority.issue_client("laptop")
    authority.revoke("laptop")
    authority.issue_client("laptop", force=True)
    assert openssl_verify(authority, "laptop", "sslclient").returncode == 0
    assert "remote 2001:db8::1" in authority.profile("laptop", ClientProfile(REMOTE))


def test_each_list_has_a_higher_number(authority: Authority) -> None:
    def number() -> int:
        crl = x509.load_pem_x509_crl(authority.files.crl.read_bytes())
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number

    before = number()
    authority.write_crl()
    assert number() == before + 1


def test_only_certificates_and_the_list_can_be_read_by_others(authority: Authority) -> None:
    authority.issue_server("gateway")
    authority.issue_client("laptop")
    readable = {
        path.relative_to(authority.files.root).as_posix()
        for path in authority.files.root.rglob("*")
        if path.is_file() and mode(path) & 0o077
    }
    assert readable == {"ca.crt", "crl.pem", "issued/gateway.crt", "issued/laptop.crt"}
    assert mode(authority.files.root / "private") == 0o700


def test_the_directory_holds_what_the_manual_says(authority: Authority) -> None:
    authority.issue_client("laptop")
    found = {
        path.relative_to(authority.files.root).as_posix()
        for path in authority.files.root.rglob("*")
    }
    assert found == {
        *("ca.crt", "crl.pem", "index.json"),
        *("tls-crypt.key", "tls-auth.key", "tls-crypt-v2-server.key"),
        *("issued", "issued/laptop.crt", "private", "private/ca.key", "private/laptop.key"),
        *("profiles", "tls-crypt-v2", "tls-crypt-v2/laptop.key"),
    }


def test_an_existing_authority_is_not_overwritten(authority: Authority) -> None:
    before = authority.files.ca_certificate.read_bytes()
    with pytest.raises(ConfigError, match="already exists"):
        Authority.create(authority.files.root)
    assert authority.files.ca_certificate.read_bytes() == before


def test_force_starts_a_new_authority(authority: Authority) -> None:
    before = authority.files.ca_certificate.read_bytes()
    authority.issue_client("laptop")
    anew = Authority.create(authority.files.root, force=True)
    assert anew.files.ca_certificate.read_bytes() != before
    assert anew.entries() == ()


def test_a_name_in_use_is_refused_and_its_key_stays(authority: Authority) -> None:
    key = authority.issue_client("laptop").key
    before = key.read_bytes()
    for issue in (authority.issue_client, authority.issue_server):
        with pytest.raises(ConfigError, match="has a certificate"):
            issue("laptop")
    assert key.read_bytes() == before
    assert len(authority.entries()) == 1


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", ".hidden", "-dash", "a b", "ä", "x" * 65, "ca"]
)
def test_a_name_that_is_no_file_name_is_refused(authority: Authority, name: str) -> None:
    with pytest.raises(ConfigError):
        authority.issue_client(name)
    assert authority.entries() == ()


def test_a_directory_without_an_authority_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ovpn6 pki init"):
        Authority(tmp_path)


def test_revoking_what_is_not_in_force_is_refused(authority: Authority) -> None:
    authority.issue_client("laptop")
    authority.revoke("laptop")
    for name in ("laptop", "nobody"):
        with pytest.raises(ConfigError, match="in force"):
            authority.revoke(name)


def test_no_certificate_outlives_the_authority(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path, days=30)
    certificate = load(authority.issue_client("laptop", days=365).certificate)
    assert (
        certificate.not_valid_after_utc == load(authority.files.ca_certificate).not_valid_after_utc
    )


def test_an_expired_authority_issues_nothing(tmp_path: Path) -> None:
    moment = [datetime(2026, 1, 1, tzinfo=UTC)]
    authority = Authority.create(tmp_path, days=30, clock=lambda: moment[0])
    moment[0] += timedelta(days=31)
    with pytest.raises(ConfigError, match="expired"):
        authority.issue_client("laptop")
    assert authority.entries() == ()


def test_a_peer_with_a_late_clock_takes_a_new_certificate(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    authority = Authority.create(tmp_path, clock=lambda: now)
    certificate = load(authority.issue_client("laptop").certificate)
    assert certificate.not_valid_before_utc <= now - timedelta(minutes=30)


def test_the_fingerprint_is_what_openssl_prints(authority: Authority) -> None:
    issued = authority.issue_client("laptop")
    printed = subprocess.run(
        ["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", str(issued.certificate)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert printed.partition("=")[2] == issued.fingerprint == authority.fingerprint("laptop")


def test_a_profile_of_the_wrong_side_is_refused(authority: Authority) -> None:
    authority.issue_server("gateway")
    authority.issue_client("laptop")
    with pytest.raises(ConfigError, match="server's certificate"):
        authority.profile("gateway", ClientProfile(REMOTE))
    with pytest.raises(ConfigError, match="client's certificate"):
        authority.server_profile("laptop", ServerProfile())


def test_a_revoked_client_gets_no_profile(authority: Authority) -> None:
    authority.issue_client("laptop")
    authority.revoke("laptop")
    with pytest.raises(ConfigError, match="revoked"):
        authority.profile("laptop", ClientProfile(REMOTE))


@pytest.mark.parametrize("wrap", [Wrap.TLS_CRYPT, Wrap.TLS_AUTH])
def test_both_ends_of_a_shared_wrap_key_have_the_same_key(authority: Authority, wrap: Wrap) -> None:
    authority.issue_server("gateway")
    authority.issue_client("laptop")
    tag = f"<{wrap.value}>"
    client = authority.profile("laptop", ClientProfile(REMOTE, wrap=wrap))
    server = authority.server_profile("gateway", ServerProfile(wrap=wrap))
    assert client.partition(tag)[2] == server.partition(tag)[2] != ""


def test_a_damaged_index_is_named(authority: Authority) -> None:
    authority.files.index.write_text("{}")
    with pytest.raises(ConfigError, match=r"index\.json is damaged"):
        authority.entries()
