"""Pure judgements over reports: what holds, what does not, and what to do about it.

Every function takes reports of `facts.parse` and what is wanted, and returns `CheckResult` lists. None of
them reads anything. The first argument is the node's name, for the message.
"""
