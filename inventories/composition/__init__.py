"""Turns a hardware profile, addresses and choices into the hosts of an inventory: plain data for pyinfra."""
