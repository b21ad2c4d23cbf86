"""Public commands as steps that run once, here or on a cluster."""
