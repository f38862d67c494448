"""A lab whose control host boots emulated machines over the network: used by its operator's commands alone."""
