"""What a measurement leaves behind: its result as JSON, and the same for people as Markdown."""
