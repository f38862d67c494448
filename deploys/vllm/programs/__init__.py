"""Programs of the engines: the replicas that prove themselves, what keeps them deployed, what fetches weights."""
