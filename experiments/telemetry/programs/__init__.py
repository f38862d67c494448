"""Programs that run on a host and only look."""
