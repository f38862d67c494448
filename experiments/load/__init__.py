"""What asks the cluster: one question with a deadline, a constant load, vLLM's own load tool, lanes that take turns."""
