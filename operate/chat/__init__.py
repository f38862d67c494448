"""A conversation with the cluster's API: the way there, what is sent, answers as they arrive. No terminal."""
