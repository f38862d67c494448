"""Who and where: one file a cluster, composed from a hardware profile. Plain data; no secrets."""
