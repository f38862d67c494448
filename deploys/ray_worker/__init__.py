"""A Ray node on each compute node; it offers CPUs, GPUs and the engine's slot, and asks the head for nothing else."""
