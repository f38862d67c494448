"""Apply the image's roles to a tree: `pyinfra INVENTORY images/tree.py`, the inventory naming it as @chroot."""

from pyinfra import host

from images.roles import ROLES, Tree

here = Tree(**host.data.get("tree"))
for _name, apply in ROLES:
    apply(here)
