"""What runs a cluster: finds it, starts pyinfra, looks before and after, asks, verifies. No click, no printing."""
