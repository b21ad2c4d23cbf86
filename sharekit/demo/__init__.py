"""The demonstration: the public commands of both sides on drawn pictures."""
