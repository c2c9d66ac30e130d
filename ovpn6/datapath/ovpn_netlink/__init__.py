"""The kernel's ``ovpn`` module by netlink: messages, typed requests, notifications, devices.

``messages`` and ``link_kind`` are in pyroute2's own style and know nothing of ours.
"""
