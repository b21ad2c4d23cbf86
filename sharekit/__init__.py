"""What both sides of Sharekit must agree on: errors, tensors, noise, manifest, signatures, bundles."""

from sharekit.program.silence import silence

__version__ = "0.1.0"

# Before any dependency is loaded.
silence()
