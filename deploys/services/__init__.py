"""What a node keeps running: one description of a service, and a module for each way to have it run."""
