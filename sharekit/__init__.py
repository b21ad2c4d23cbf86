"""What both sides of Sharekit must agree on: errors, tensors, noise, manifest, signatures, bundles."""

__version__ = "0.1.0"
