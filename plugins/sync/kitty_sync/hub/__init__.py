"""The hub: a team server for the events of many clients. It never imports the client, nor the client it (ADR 0020)."""
