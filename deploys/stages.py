"""The stages of deploys/all.py in their order, each with the name of the operation that ends it. Pure."""

from __future__ import annotations

STAGES = {
    "base": "Every node has its base",
    "depot": "Runtime and weights are on the control node",
    "runtime": "Runtime and weights are on every node",
    "head": "The Ray head answers",
    "workers": "Every Ray worker is started",
}
# The engines' stage ends with the run.
LAST_STAGE = "engines"
