"""What may be said of the real masks and textures: never of one image, always with how it is protected."""
