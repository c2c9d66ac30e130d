"""Words every layer shares: identifiers as distinct types, and small enums.

Knows nothing of packets, sockets or configuration.
"""

from __future__ import annotations

from enum import Enum
from typing import NewType

Instant = NewType("Instant", float)
"""A point in time in seconds on a clock that never goes back; only differences mean anything."""

PeerId = NewType("PeerId", int)
"""Names one peer in the data channel, 0 to 0xFFFFFE; the 24-bit field of P_DATA_V2."""

KeyId = NewType("KeyId", int)
"""Names one negotiation in a packet's first byte, 0 to 7; 0 is only ever a session's first."""

MessageId = NewType("MessageId", int)
"""Position of a control packet in the reliability layer, 32 bits, from 0 without gaps."""

PacketId = NewType("PacketId", int)
"""Replay counter of one key and direction, from 1."""

SessionId = NewType("SessionId", bytes)
"""Eight random bytes that name one end of a session."""

LinkId = NewType("LinkId", int)
"""Names one outer socket: a bound UDP socket, a TCP listener, or one TCP connection."""

JobId = NewType("JobId", int)
"""Ties a slow action (script, look-up, file) to the input that brings its answer."""

NO_PEER_ID = 0xFFFFFF
"""The value of the 24-bit peer-id field that means none."""


class Transport(Enum):
    """How datagrams travel on the outer network."""

    UDP = "udp"
    TCP = "tcp"


class Family(Enum):
    """Which outer address family a socket or a look-up may use."""

    ANY = "any"
    IPV6 = "6"
    IPV4 = "4"


class KeySlot(Enum):
    """Where a datapath holds a key: PRIMARY seals and opens, SECONDARY only opens."""

    PRIMARY = 0
    SECONDARY = 1


class Level(Enum):
    """Weight of a log line; the number is the lowest ``--verb`` that prints it."""

    FATAL = 0
    ERROR = 1
    WARNING = 1.5
    NOTICE = 2
    INFO = 3
    DEBUG = 6


class Signal(Enum):
    """What the operator asked of a running daemon, by OpenVPN's meaning."""

    TERM = "SIGTERM"
    INT = "SIGINT"
    HUP = "SIGHUP"
    USR1 = "SIGUSR1"
    USR2 = "SIGUSR2"
