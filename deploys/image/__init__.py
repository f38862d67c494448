"""What is inside the nodes' shared image: its data, the roles that are applied to it, and its own files."""
