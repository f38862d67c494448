"""The lab's control host, and two virtual machines with empty disks that boot from it: one BIOS, one UEFI."""

from tests.netboot.cluster import guest_cluster

control, compute = guest_cluster("netboot")
