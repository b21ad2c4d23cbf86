"""The demonstration: runs the public commands of both sides on drawn pictures."""
