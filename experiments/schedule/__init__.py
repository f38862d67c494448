"""What is done to a cluster under load, in which order, and how each fault is mended."""
