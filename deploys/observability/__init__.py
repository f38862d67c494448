"""What shows a cluster from inside: metrics, logs, traces, flows; only where an inventory or an experiment asks."""
