"""Programs that facts run on the hosts, and what they share with those that are installed there."""
