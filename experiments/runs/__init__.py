"""A run of an experiment: its phases, from the cluster that is deployed to the bundle that is sealed."""
