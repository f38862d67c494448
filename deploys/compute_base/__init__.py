"""What every node of a cluster has before Ray: user, time, limits, names, firewall, driver, runtime, secrets."""
