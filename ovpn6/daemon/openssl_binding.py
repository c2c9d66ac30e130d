"""The few OpenSSL calls that pyOpenSSL has no method for, through the library it is bound to.

Everything else uses pyOpenSSL's public API; nobody but this module touches the binding.
"""

from __future__ import annotations

from typing import Any, cast

from OpenSSL import SSL
from OpenSSL._util import ffi as _ffi
from OpenSSL._util import lib as _lib

from ovpn6.model.errors import ConfigError


def verify_error_text(code: int) -> str:
    """OpenSSL's words for an ``X509_V_ERR_*`` code, such as ``certificate has expired``."""
    text = cast(bytes, _ffi.string(_lib.X509_verify_cert_error_string(code)))
    return text.decode("ascii", "replace")


def set_groups(context: SSL.Context, groups: str) -> None:
    """Allow only these key-exchange groups, by OpenSSL's names with ``:`` between, best first.

    Raises ``ConfigError`` for a group OpenSSL does not know.
    """
    setter: Any = getattr(_lib, "SSL_CTX_set1_curves_list", None)
    if setter is None:
        raise ConfigError(
            "tls-groups cannot be set with the installed pyOpenSSL and cryptography",
            advice="remove tls-groups, or install cryptography 46 or newer",
        )
    native = cast(Any, context)._context
    if setter(native, groups.encode()) != 1:
        _lib.ERR_clear_error()
        raise ConfigError(
            f"Failed to set allowed TLS group list: {groups}",
            advice="use OpenSSL's names, for example X25519:secp256r1",
        )
