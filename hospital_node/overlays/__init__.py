"""Overlays: text and graphics that a device wrote into the pixels of a picture."""
