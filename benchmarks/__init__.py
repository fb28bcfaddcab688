"""Measurements: p3s beside its peers and beside what the machine can do at all. Start with ``make bench``."""
