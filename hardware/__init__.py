"""What exists: parts with sourced numbers, and the machines built from them. Standard library only; pure."""
