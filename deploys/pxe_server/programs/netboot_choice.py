"""The boot server's tree on the control node, and the scripts of a choice: which node boots which image with what.

Standard library only. Files and links are replaced whole, by a rename. ImageError carries one line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploys.pxe_server.programs.netboot_image import ARGUMENT, NAME, ImageError, read_manifest


class Server:
    """The boot server's tree and its data."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        self.http = Path(data["place"]) / "http"
        self.tftp = Path(data["place"]) / "tftp"
        self.images = Path(data["images"])
        self.machines: dict[str, dict[str, Any]] = data["machines"]

    def node(self, node: str) -> Path:
        """Scripts of a node."""
        return self.http / "nodes" / node

    def image(self, name: str) -> Path:
        """Directory of an image; ImageError for a name that would lead elsewhere."""
        if not NAME.match(name):
            raise ImageError(f"image {name!r}: letters, digits, '-', '_' and '.' only")
        return self.images / name

    def chosen(self, node: str, which: str) -> str | None:
        """Name of the node's `current` or `previous` image; None when there is none."""
        try:
            return (self.node(node) / which).readlink().name
        except OSError:
            return None

    def select(self, nodes: list[str]) -> list[str]:
        """`nodes`, or all; ImageError for a name that is no node that boots from here."""
        strangers = sorted(set(nodes) - set(self.machines))
        if strangers:
            known = ", ".join(sorted(self.machines)) or "none"
            raise ImageError(f"{', '.join(strangers)} does not boot from this control node; these do: {known}")
        return sorted(nodes or self.machines)


def kernel_arguments(server: Server, node: str, manifest: dict[str, Any]) -> str:
    """The kernel's whole command line for a node and an image."""
    data, machine = server.data, server.machines[node]
    root = manifest["files"]["root.squashfs"]
    words = [
        "boot=cluster",
        *manifest.get("kernel_arguments", []),
        *machine["kernel_arguments"],
        f"cluster.control={data['url']}",
        f"cluster.node={node}",
        f"cluster.mac={machine['mac_address']}",
        f"cluster.address={machine['address']}",
        *([f"cluster.router={data['router']}"] if data["router"] else []),
        *([f"cluster.dns={','.join(data['name_servers'])}"] if data["name_servers"] else []),
        f"cluster.image={manifest['name']}",
        f"cluster.sha256={root['sha256']}",
        f"cluster.bytes={root['bytes']}",
        f"cluster.user={data['login_user']}",
        "panic=30",  # a kernel or initrd that cannot go on boots anew, and asks again what to boot
    ]
    wrong = [word for word in words if not ARGUMENT.match(word)]
    if wrong:
        raise ImageError(f"{node}: kernel argument {wrong[0]!r} is no plain word; correct the hardware profile")
    return " ".join(words)


def choice_files(server: Server, node: str, manifest: dict[str, Any]) -> dict[str, str]:
    """Texts of a choice, by file name: iPXE's script, GRUB's menu, and the image's name for a node that asks again."""
    name, url = manifest["name"], server.data["url"]
    arguments = kernel_arguments(server, node, manifest)
    boot = (
        f"#!ipxe\n# {node} boots {name}. Written by cluster.\n:try\nimgfree\n"
        f"kernel {url}/images/{name}/vmlinuz initrd=initrd.img {arguments} || goto failed\n"
        f"initrd --name initrd.img {url}/images/{name}/initrd.img || goto failed\n"
        "boot || goto failed\n"
        f":failed\necho {node}: image {name} cannot be loaded, again in 5 s\nsleep 5\n"
        f"chain --replace {url}/nodes/{node}/start.ipxe || goto try\n"
    )
    grub = (
        f"# {node} boots {name}. Written by cluster.\nset timeout=0\n"
        # GRUB's language knows no `&&`.
        f"if linux /images/{name}/vmlinuz {arguments}; then\n"
        f"  if initrd /images/{name}/initrd.img; then boot; fi\nfi\n"
        f'echo "{node}: image {name} cannot be loaded, again in 5 s"\nsleep 5\nreboot\n'
    )
    return {"boot.ipxe": boot, "grub.cfg": grub, "image": f"{name}\n"}


def start_text(server: Server, node: str) -> str:
    """iPXE's first script: what is chosen for the node, or waiting until something is."""
    url = server.data["url"]
    return (
        f"#!ipxe\n# Written by cluster.\n:try\nchain --replace {url}/nodes/{node}/current/boot.ipxe ||\n"
        f"echo {node}: the control node has no image for this node: cluster netboot use NAME\nsleep 10\ngoto try\n"
    )


def wanted_files(server: Server) -> dict[Path, str]:
    """Every script that should be there now; those of a choice whose image is gone stay as they are."""
    wanted: dict[Path, str] = {}
    for node in server.machines:
        wanted[server.node(node) / "start.ipxe"] = start_text(server, node)
        for which in ("current", "previous"):
            image = server.chosen(node, which)
            if image is None:
                continue
            try:
                manifest = read_manifest(server.images / image)
            except ImageError:
                continue
            for file, text in choice_files(server, node, manifest).items():
                wanted[server.node(node) / "choices" / image / file] = text
    return wanted


def read(path: Path) -> str | None:
    """A file's text, or None."""
    try:
        return path.read_text()
    except OSError:
        return None


def link(path: Path) -> str | None:
    """A link's target, or None."""
    try:
        return str(path.readlink())
    except OSError:
        return None


def write(path: Path, text: str) -> None:
    """Replace a file, whole or not at all; left alone when it says this already."""
    if read(path) == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    fresh.chmod(0o644)
    fresh.replace(path)


def point(path: Path, target: str) -> None:
    """Make or change a link in one step."""
    if link(path) == target:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(path)
