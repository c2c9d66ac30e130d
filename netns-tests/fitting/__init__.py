"""What tests of packet sizes share: the rules as an oracle, packets sent and watched, tunnels."""
