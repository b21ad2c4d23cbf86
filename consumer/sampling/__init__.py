"""Drawing samples from a verified bundle."""
