"""watch: the web page of the cluster, and the service on the control node that feeds it."""
