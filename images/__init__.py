"""Images: the one root file system that compute nodes boot; built, listed, verified, removed on the operator's machine.

An image is a directory NAME = VARIANT-KEY in the image store with vmlinuz, initrd.img, root.squashfs and
manifest.json. What is in it is said in contents.py and roles.py; how it is made, in builder.py. Linux, root and
Debian's tools for building; reading needs none of them.
"""

from images.builder import build, lab_image
from images.request import Request
from images.store import Image, ImageError, default_store

__all__ = ["Image", "ImageError", "Request", "build", "default_store", "lab_image"]
