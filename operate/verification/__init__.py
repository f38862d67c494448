"""Is what runs what was declared? Requests for facts, and pure judgements over what the hosts said."""
