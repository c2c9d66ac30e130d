"""``python -m ovpn6``."""

from __future__ import annotations

import sys

from ovpn6.cli import main

if __name__ == "__main__":
    sys.exit(main())
