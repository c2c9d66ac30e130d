"""Two TLS engines joined in memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ovpn6.config.schema import TlsConfig
from ovpn6.daemon.tls_openssl import OpenSslEngine, OpenSslTls
from ovpn6.model.names import Level
from ovpn6.model.secrets import SecretBytes
from ovpn6.protocol.tls import TlsFailed
from tests.daemon.certificates import World, inline, world


def no_passphrase(what: str) -> SecretBytes:
    """For keys that are not encrypted."""
    raise AssertionError(f"asked for the passphrase of {what}")


@dataclass
class Side:
    """A factory and what it logged."""

    tls: OpenSslTls
    lines: list[str] = field(default_factory=list)

    def logged(self, text: str) -> bool:
        return any(text in line for line in self.lines)


def side(config: TlsConfig, *, is_server: bool) -> Side:
    """A factory that logs into a list."""
    lines: list[str] = []

    def log(level: Level, text: str) -> None:
        lines.append(text)

    tls = OpenSslTls(config, is_server=is_server, passphrase=no_passphrase, log=log)
    return Side(tls, lines)


def server_config(made: World | None = None, **changes: object) -> TlsConfig:
    """The server of a world."""
    made = made or world()
    base = TlsConfig(
        ca=inline(made.ca.pem), cert=inline(made.server.pem), key=inline(made.server.key_pem)
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def client_config(made: World | None = None, **changes: object) -> TlsConfig:
    """The client of a world."""
    made = made or world()
    base = TlsConfig(
        ca=inline(made.ca.pem), cert=inline(made.client.pem), key=inline(made.client.key_pem)
    )
    return replace(base, **changes)  # type: ignore[arg-type]


@dataclass
class Outcome:
    """How a handshake ended: the engines, and what each side raised ("" for nothing)."""

    server: OpenSslEngine
    client: OpenSslEngine
    server_error: str = ""
    client_error: str = ""

    @property
    def up(self) -> bool:
        """Both accepted."""
        return self.server.established and self.client.established and not self.failed

    @property
    def failed(self) -> bool:
        """One of them refused."""
        return bool(self.server_error or self.client_error)


def handshake(server: Side, client: Side) -> Outcome:
    """Drive both until nothing more is sent."""
    outcome = Outcome(server.tls(), client.tls())
    outcome.server.start()
    outcome.client.start()
    for _ in range(20):
        to_server = outcome.client.outgoing()
        if to_server and not outcome.server_error:
            outcome.server_error = _feed(outcome.server, to_server)
        to_client = outcome.server.outgoing()
        if to_client and not outcome.client_error:
            outcome.client_error = _feed(outcome.client, to_client)
        if not to_server and not to_client:
            return outcome
    raise AssertionError("the handshake does not end")


def connect(server: TlsConfig, client: TlsConfig) -> Outcome:
    """A handshake between two configurations."""
    return handshake(side(server, is_server=True), side(client, is_server=False))


def _feed(engine: OpenSslEngine, data: bytes) -> str:
    try:
        engine.feed(data)
        engine.records()
    except TlsFailed as error:
        return str(error)
    return ""
