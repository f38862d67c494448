"""Programs that run in the locked runtime, for measurements and tests."""
