"""Scripts that facts run on the hosts; sent as text, they import nothing of this project."""
