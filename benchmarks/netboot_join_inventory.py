"""The lab's hosts, which serve, and two virtual machines that boot from its control host and join Ray without an engine."""

from tests.netboot.cluster import guest_cluster

control, compute = guest_cluster("netboot-join", lab_nodes=True)
