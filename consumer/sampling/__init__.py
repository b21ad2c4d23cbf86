"""Draw samples from a verified bundle."""
