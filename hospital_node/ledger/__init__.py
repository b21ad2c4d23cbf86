"""The node's ledger: images, generators, evaluations, and the log of their changes."""
