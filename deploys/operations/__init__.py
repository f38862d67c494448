"""Custom operations: read, compare, and either say that nothing is to do or yield commands. Validation comes first."""
