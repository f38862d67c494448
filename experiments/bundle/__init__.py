"""What a run leaves: one directory that is read without the cluster, checked without a network, and replayed."""
