"""Custom operations: read, compare, and either say that nothing is to do or yield commands. Validation comes first."""

import sys

# pyinfra's command writes no bytecode, so that every run would compile all operations anew, pyinfra's and ours.
sys.dont_write_bytecode = False
