"""What `cluster netboot` changes on the control node, by `--data action=...`; see cli/commands/netboot.py."""

from pyinfra import host

from deploys import settings
from deploys.operations import netboot

if "control" in host.groups:
    here = settings.of(host)
    action, image = host.data.get("action"), host.data.get("image") or ""
    nodes = tuple(node for node in (host.data.get("nodes") or "").split(",") if node)
    said = ", ".join(nodes) or "every node"
    if action == "upload":
        netboot.upload(name=f"Send {image} to {here.node}", settings=here, directory=image)
    elif action == "use":
        netboot.use(name=f"Let {said} boot {image}", settings=here, image=image, nodes=nodes)
    elif action == "rollback":
        netboot.rollback(name=f"Let {said} boot the image before", settings=here, nodes=nodes)
    elif action == "wake":
        netboot.wake(name=f"Wake {said}", settings=here, nodes=nodes)
