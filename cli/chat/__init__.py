"""A conversation with the cluster: what `cluster chat` is made of."""
