"""Everything, in order: `pyinfra inventories/NAME.py deploys/all.py`. Twice is a no-op."""

from pyinfra import host

from deploys.compute_base.deploy import compute_base, install_runtime
from deploys.depot.deploy import depot
from deploys.gateway.deploy import gateway
from deploys.observability.deploy import observability
from deploys.operations import stage
from deploys.pxe_server.deploy import pxe_server
from deploys.ray_head.deploy import ray_head
from deploys.ray_worker.deploy import ray_worker
from deploys.vllm.deploy import refuse_what_does_not_fit, vllm, weights
from deploys.watch.deploy import watch

# What cannot be served is refused while nothing has been changed or fetched anywhere.
refuse_what_does_not_fit()

# Users, files, firewall and driver first: everything after runs as that user, with those files, behind that firewall.
compute_base()
stage.reach("base")

# What the nodes booted from stays as declared; to bring them up at all it runs alone, before they are there.
if "control" in host.groups:
    pxe_server()

# The control node has the runtime before the compute nodes copy it, and likewise the weights.
if "control" in host.groups:
    install_runtime()
    depot()
    weights()
stage.reach("depot")

# Before Ray: a node whose disk is full should fail before it offers an engine slot.
if "compute" in host.groups:
    install_runtime()
    weights()
stage.reach("runtime")

# Before what it looks at: engines that are told of a receiver find it.
observability()

# The page before the rest: it shows what comes up. The head before the workers: they join it.
if "control" in host.groups:
    watch()
    ray_head()
stage.reach("head")
if "compute" in host.groups:
    ray_worker()
stage.reach("workers")

# The gateway before the engines: who asks early is told to wait, in the API's own words.
if "control" in host.groups:
    gateway()

# The application last: it waits for exactly the declared nodes, and then for every engine's right answer.
if "control" in host.groups:
    vllm()
