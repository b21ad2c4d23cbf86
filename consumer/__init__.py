"""Everything that runs outside the hospital: sampling, style transfer, data sets, validation.

import consumer

for sample in consumer.open_bundle("bundle", "hospital.pub").sample(100, seed=1):
    sample.image, sample.mask
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consumer.sampling.synthetic_bundle import Bundle

__all__ = ["open_bundle"]


def open_bundle(
    path: str | Path, key: str | Path, *, provider: str = "auto", threads: int | None = None
) -> Bundle:
    """Verify a bundle and open it for sampling.

    Args:
        path: the bundle's folder or zip file.
        key: file with the hospital's public key, whose fingerprint was confirmed out of band.
        provider: `cuda`, `cpu`, or `auto`: CUDA where it really runs, otherwise the CPU.
        threads: of ONNX Runtime on the CPU; every core of this process when None.

    Raises:
        VerificationError: a signature, digest, schema or ONNX rule does not hold.
        DependencyError: `cuda` was asked for and does not run.
        InputError: the bundle or the key cannot be read.
    """
    # ONNX Runtime takes a while to load, and `import consumer` should not.
    from consumer.sampling.synthetic_bundle import Bundle

    return Bundle.open(Path(path), Path(key), provider=provider, threads=threads)
