"""What is seen while the load runs: whether replicas are ready, when a start was, what a fault cost, memory."""
