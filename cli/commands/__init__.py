"""One file a command; each has `command`, which cli.main finds by its name."""
