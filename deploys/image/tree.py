"""Apply the image's roles to a tree: `pyinfra INVENTORY deploys/image/tree.py`, the inventory naming it as @chroot."""

from pyinfra import host

from deploys.image.roles import ROLES, Tree

here = Tree(**host.data.get("tree"))
for _name, apply in ROLES:
    apply(here)
