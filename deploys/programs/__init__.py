"""What programs of several roles share on the hosts."""
