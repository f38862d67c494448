"""Programs that break something on a host; they are sent when they are wanted, and stay nowhere."""
