"""pxe_server: the control node boots the compute nodes over the cluster's network, and no other machine."""
