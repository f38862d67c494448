"""The engines: weights on the nodes that have one, and the Serve application that runs and proves them."""
