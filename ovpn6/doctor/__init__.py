"""``ovpn6 doctor``: what stands between packets and the other end, and what to do about it.

Measuring (``echo``, ``sweep``, ``host``) makes facts; ``judge`` makes findings of them and touches
nothing; ``report`` shows both. Nothing is changed on the host.
"""
