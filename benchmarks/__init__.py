"""What this project costs: time of a no-op run beside another tool, time to start, memory at rest."""
