"""Everything a configuration names, read and checked before a tunnel begins.

Done in the foreground, with the terminal still there for questions: what is wrong is seen at once.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping

import cryptography
import OpenSSL
from OpenSSL import SSL

import ovpn6
from ovpn6.config.schema import ServerConfig, TunnelConfig
from ovpn6.daemon import privileges
from ovpn6.daemon.credentials import Ask, ask_terminal, client_credentials, passphrase_source
from ovpn6.daemon.logs import time_string
from ovpn6.daemon.scripts import PATH
from ovpn6.daemon.tls_context import read_bytes
from ovpn6.daemon.tls_openssl import OpenSslTls
from ovpn6.daemon.tls_verify import TlsLog
from ovpn6.daemon.wrap_keys import ClientKeys, server_wrapping
from ovpn6.datapath.interface import Capabilities
from ovpn6.model.errors import ConfigError
from ovpn6.model.records import dataclass
from ovpn6.model.secrets import SecretBytes
from ovpn6.protocol.acceptor import Acceptor, ServerWrapping
from ovpn6.protocol.connection import Credentials
from ovpn6.roles.interface import RoleContext

COOKIE_SECRET_SIZE = 32


@dataclass(frozen=True, slots=True)
class Materials:
    """What one configuration's files hold. One of the two wrappings is set, by the part in TLS."""

    config: TunnelConfig
    tls: OpenSslTls
    identity: privileges.Identity
    server_wrapping: ServerWrapping | None = None
    client_keys: ClientKeys | None = None
    credentials: Credentials = Credentials()
    auth_token_secret: SecretBytes | None = None


def load_materials(config: TunnelConfig, log: TlsLog, ask: Ask = ask_terminal) -> Materials:
    """Read all of it. Raises ``ConfigError``."""
    tls = OpenSslTls(
        config.tls,
        is_server=config.is_tls_server,
        passphrase=passphrase_source(config.tls, ask),
        log=log,
    )
    identity = privileges.look_up(config.process)
    if config.server is not None:
        secret = config.server.auth_gen_token_secret
        return Materials(
            config,
            tls,
            identity,
            server_wrapping=server_wrapping(config.wrap),
            auth_token_secret=(
                SecretBytes(read_bytes(secret, "auth-gen-token-secret")) if secret else None
            ),
        )
    if config.client is None:
        raise ConfigError("neither a server nor a client", config.origin)
    if config.is_tls_server:
        return Materials(config, tls, identity, server_wrapping=server_wrapping(config.wrap))
    both = config.point_to_point
    own = (both.passive,) if both is not None and both.passive is not None else ()
    return Materials(
        config,
        tls,
        identity,
        client_keys=ClientKeys(config.wrap, (*config.client.remotes, *own)),
        credentials=client_credentials(config.client, ask),
    )


def role_context(
    materials: Materials,
    capabilities: Capabilities,
    *,
    wall_offset: float,
    environment: Mapping[str, str],
    pool_text: str = "",
    entropy: Callable[[int], bytes] = os.urandom,
) -> RoleContext:
    """What a role is given for one life."""
    config = materials.config
    ciphers = tuple(name for name in config.data.ciphers if name in capabilities.ciphers)
    if not ciphers:
        raise ConfigError(
            f"data-ciphers: the data path ({capabilities.name}) has none of "
            f"{':'.join(config.data.ciphers)}",
            config.origin,
            f"it has {':'.join(capabilities.ciphers)}",
        )
    acceptor = None
    if materials.server_wrapping is not None:
        server = config.server or ServerConfig()
        acceptor = Acceptor(
            materials.server_wrapping,
            secret=entropy(COOKIE_SECRET_SIZE),
            hand_window=config.control.hand_window,
            rate=server.connect_freq_initial,
            wall_offset=wall_offset,
        )
    keys = materials.client_keys
    return RoleContext(
        config=config,
        tls=materials.tls,
        entropy=entropy,
        wall_offset=wall_offset,
        ciphers=ciphers,
        framings=capabilities.framings,
        occ=capabilities.occ,
        environment=environment,
        acceptor=acceptor,
        wrapping=keys.at(wall_offset) if keys is not None else None,
        credentials=materials.credentials,
        pool_text=pool_text,
        auth_token_secret=materials.auth_token_secret,
        data_epoch=capabilities.data_epoch and config.data.epoch_keys,
        ecn=capabilities.ecn,
    )


def script_base(config: TunnelConfig, *, unix_time: float, daemon_pid: int) -> dict[str, str]:
    """What every script's environment begins with."""
    process = config.process
    return {
        "PATH": PATH,
        "config": config.origin.name,
        "daemon": str(int(process.daemon)),
        "daemon_log_redirect": str(int(process.log is not None)),
        "daemon_pid": str(daemon_pid),
        "daemon_start_time": str(int(unix_time)),
        "time_unix": str(int(unix_time)),
        "time_ascii": time_string(unix_time),
        "verb": str(process.verb),
        **dict(config.control.setenv),
    }


def version_line() -> str:
    """What we are: the first log line, ``--version`` and the title of the status file."""
    machine = f"{platform.machine()}-{platform.system().lower()}"
    return f"ovpn6 {ovpn6.__version__} {machine} [SSL (OpenSSL)] [AEAD] [DCO]"


def library_line() -> str:
    """The libraries we stand on, by version."""
    openssl = SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode("ascii", "replace")
    return (
        f"library versions: {openssl}, pyOpenSSL {OpenSSL.__version__}, "
        f"cryptography {cryptography.__version__}, Python {platform.python_version()}"
    )
