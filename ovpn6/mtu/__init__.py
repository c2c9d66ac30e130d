"""PURE: what fits: overhead arithmetic, the path MTU of each peer, and what follows from it."""
