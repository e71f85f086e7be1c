"""The hub: a team's server that takes events, keeps each once, and hands them out in the order of their commits.

The client never imports it and it imports nothing of the client's; what both must agree on is in adr/0020.
"""
