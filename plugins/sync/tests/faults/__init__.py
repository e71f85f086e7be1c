"""What the fault sweep is made of: a client that starts at once, a wire that breaks, disks that fill, and the account in the end."""
