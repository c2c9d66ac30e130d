"""Measurements. ``make bench`` runs this package; the modules with a ``main`` are commands too."""
