"""Programs that look at a node, and the receiver of traces."""
