"""gateway: the cluster's one public address."""
