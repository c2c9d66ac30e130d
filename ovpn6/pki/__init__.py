"""Certificates and keys, so that a tunnel needs no other tool."""
