"""Measurements; a module for each kind. They know a tunnel that is up, not whose it is."""
