"""Counter-based noise: every value is a pure function of generator, seed, sample index, scale and position.

The bits come from Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) in
NumPy's implementation, whose raw stream NumPy keeps stable. The normals come from Box and Muller (1958), so
nothing depends on a library's choice of sampler. Batch size, number of workers and order do not matter.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

NOISE_SCHEME = "sharekit-philox-v1"
MAX_SEED = 2**63 - 1


def standard_normal(
    generator_id: str, seed: int, index: int, scale: int, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Standard normal noise of one sample at one scale.

    Args:
        generator_id: identifier of the generator, as in the manifest.
        seed: the user's seed, 0 to 2**63 - 1.
        index: index of the sample under that seed, 0 to 2**63 - 1.
        scale: index of the scale, 0 the coarsest.
        shape: `(channels, height, width)`; values are laid out in row-major order.

    Returns:
        float32 array of `shape`.

    Raises:
        ValueError: seed, index or scale is negative or too large.
    """
    for name, value in (("seed", seed), ("index", index), ("scale", scale)):
        if not 0 <= value <= MAX_SEED:
            raise ValueError(f"{name} must be from 0 to {MAX_SEED}, not {value}")
    digest = hashlib.sha256(f"{NOISE_SCHEME}\0{generator_id}\0{seed}".encode()).digest()
    key = np.frombuffer(digest[:16], dtype="<u8")
    # Philox uses the low word of the counter for its own block count.
    bits = np.random.Philox(key=key, counter=np.array([0, scale, index, 0], dtype=np.uint64))
    count = int(np.prod(shape))
    pairs = (count + 1) // 2
    raw = bits.random_raw(2 * pairs)
    # 53 bits each, shifted by half a step so that the logarithm never gets zero.
    uniform = ((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    radius = np.sqrt(-2.0 * np.log(uniform[:pairs]))
    angle = 2.0 * np.pi * uniform[pairs:]
    normals = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
    return normals.astype(np.float32).reshape(shape)
