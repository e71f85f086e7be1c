"""A mission type for audits, and a gate that no finding is open when one lands."""
