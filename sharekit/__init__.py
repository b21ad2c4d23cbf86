"""What both sides of Sharekit must agree on: errors, tensors, noise, manifest, signatures, bundles."""

from sharekit.silence import switch_off

__version__ = "0.1.0"

# Must run before any dependency is loaded.
switch_off()
