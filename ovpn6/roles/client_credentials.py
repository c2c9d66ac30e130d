"""What a client sends as user name and password, and when a token takes the password's place. PURE.

Source: OpenVPN ``ssl.c`` (ssl_set_auth_token, ssl_clean_auth_token, ssl_purge_auth).
"""

from __future__ import annotations

from ovpn6.model.secrets import SecretBytes
from ovpn6.protocol.connection import Credentials


class Wallet:
    """The user's credentials and the server's token.

    With ``forgetful`` (``auth-nocache``) the password is dropped as soon as a token replaces it;
    without token it must stay, since each renegotiation sends it again.
    """

    def __init__(self, own: Credentials, *, forgetful: bool) -> None:
        self._own = own
        self._forgetful = forgetful
        self._token: Credentials | None = None
        self.password_known = True

    @property
    def current(self) -> Credentials:
        """What the next key exchange sends."""
        return self._token or self._own

    @property
    def holds_token(self) -> bool:
        """A token is in use."""
        return self._token is not None

    def give_token(self, token: str, username: str) -> None:
        """The server gave a token; ``username`` "" keeps the user's name."""
        self._token = Credentials(username or self._own.username, SecretBytes(token.encode()))
        if self._forgetful:
            self._own = Credentials(self._own.username)
            self.password_known = False

    def drop_token(self) -> None:
        """The token was refused."""
        self._token = None
