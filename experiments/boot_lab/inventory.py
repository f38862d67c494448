"""The lab's control host, and two virtual machines with empty disks that boot from it: one BIOS, one UEFI."""

from experiments.boot_lab.cluster import guest_cluster

control, compute = guest_cluster("netboot")
