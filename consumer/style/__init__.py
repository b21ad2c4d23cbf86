"""Style transfer without a real image."""
