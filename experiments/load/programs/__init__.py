"""Programs that run in the locked runtime."""
