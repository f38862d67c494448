"""The lab's hosts, which serve, and two virtual machines that boot from the control host and join Ray."""

from experiments.boot_lab.cluster import guest_cluster

control, compute = guest_cluster("netboot-join", lab_nodes=True)
