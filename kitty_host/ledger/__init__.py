"""The ledger: every change of state of a mission, one line each, append-only.

`event` knows the rows, `machine` the lanes and edges, `log` the file, `reduce` what the rows add up to, `emit` the one way to add some.
"""
