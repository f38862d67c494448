"""The Ray head on the control node: 0 CPUs, 0 GPUs, pinned ports, token authentication, dashboard."""
