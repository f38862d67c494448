"""Faults that are done to hosts on purpose, so that it is seen what a cluster bears."""
