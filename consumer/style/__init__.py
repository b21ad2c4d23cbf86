"""Transfer the style of real images without a real image."""
