"""Statistics of the real masks and textures: never of one image, and always protected."""
