"""What of pyroute2 is used: the classes that encode and decode messages, without its sockets.

Importing any part of pyroute2 runs the package's own ``__init__``, and that imports every protocol
it knows: 60 ms and 11 MB for a daemon that speaks two. So the package is entered here without
running it; it runs when somebody asks it for a name of its own (``from pyroute2 import NetNS``).
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec


def _enter_package(name: str) -> None:
    """Make the modules of a package importable; its ``__init__`` runs upon the first name that is
    asked of it (PEP 562)."""
    spec = find_spec(name) if name not in sys.modules else None
    if spec is None or spec.loader is None:
        return
    package, loader = module_from_spec(spec), spec.loader

    def run_init(attribute: str) -> object:
        del package.__getattr__
        loader.exec_module(package)
        return getattr(package, attribute)

    package.__getattr__ = run_init  # type: ignore[method-assign]
    sys.modules[name] = package


_enter_package("pyroute2")

from pyroute2.netlink import NLA_F_NESTED, ctrlmsg, genlmsg, nla, nla_string, nlmsg  # noqa: E402
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg  # noqa: E402
from pyroute2.netlink.rtnl.rtmsg import rtmsg  # noqa: E402

__all__ = [
    "NLA_F_NESTED",
    "LinkHeader",
    "ctrlmsg",
    "genlmsg",
    "ifaddrmsg",
    "nla",
    "nla_string",
    "nlmsg",
    "rtmsg",
]


class LinkHeader(nlmsg):  # type: ignore[misc]
    """``struct ifinfomsg``. Who needs attributes names them in a class of his own: an interface has
    a hundred, and decoding them takes longer than all the rest of a request."""

    __slots__ = ()
    prefix = "IFLA_"
    fields = (
        ("family", "B"),
        ("__pad", "B"),
        ("ifi_type", "H"),
        ("index", "i"),
        ("flags", "I"),
        ("change", "I"),
    )
