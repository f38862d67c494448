"""The deploys applied to real hosts, twice, and the faults that the verification has to name."""
