"""Draw, style and validate synthetic images with masks from a hospital's signed bundle.

A bundle holds small generators instead of images. Open it with the hospital's public key and draw as many
samples as you need. Confirm the key's fingerprint first, over another channel than the bundle came by.

    import consumer

    bundle = consumer.open_bundle("bundle", "hospital.pub")
    print(bundle)
    for sample in bundle.sample(4, seed=1):
        print(sample.image.shape, sample.mask.shape, sample.mask.max())

Sizes are (width, height). `Refinement` repairs masks, or draws samples again whose masks mark too little:

    refinement = consumer.Refinement(clean_masks=True, redraw_below=0.05)
    samples = list(bundle.sample(4, seed=1, size=consumer.Size(64, 48), refinement=refinement))

To train with torch without storing a file:

    from torch.utils.data import DataLoader

    loader = DataLoader(bundle.torch_dataset(seed=1, length=8), batch_size=4, num_workers=2)
    for batch in loader:
        print(batch["image"].shape, batch["mask"].shape)

Every error of this package is a `SharekitError`. It names the item concerned, what was expected, what was
found and what to do next.
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

from sharekit.errors import DependencyError, InputError, SharekitError, UsageError, VerificationError

if TYPE_CHECKING:
    from consumer.sampling.judge import Judge
    from consumer.sampling.refinement import Refinement
    from consumer.sampling.request import Size
    from consumer.sampling.sample import Sample
    from consumer.sampling.synthetic_bundle import Bundle

__all__ = [
    "Bundle",
    "DependencyError",
    "InputError",
    "Judge",
    "Refinement",
    "Sample",
    "SharekitError",
    "Size",
    "UsageError",
    "VerificationError",
    "open_bundle",
]

_LATE = {
    "Bundle": "consumer.sampling.synthetic_bundle",
    "Judge": "consumer.sampling.judge",
    "Refinement": "consumer.sampling.refinement",
    "Sample": "consumer.sampling.sample",
    "Size": "consumer.sampling.request",
}
"""Names imported on first use: verification loads slowly, and `import consumer` should be fast."""


def open_bundle(
    path: str | PathLike[str],
    key: str | PathLike[str] | None = None,
    *,
    device: str = "auto",
    threads: int | None = None,
    isolate: bool | None = None,
    provider: str | None = None,
) -> Bundle:
    """Verify a bundle and open it for sampling.

    Args:
        path: the bundle's folder or zip file, or the short name of a hospital whose bundle you have pulled.
        key: file with the hospital's public key, whose fingerprint you have confirmed out of band, or the
            short name of a hospital that you trust; None takes the hospital that `path` names.
        device: `cuda`, `cpu`, or `auto`, which takes CUDA where it runs and the CPU otherwise.
        threads: threads of ONNX Runtime on the CPU; None takes as many as this machine has free.
        isolate: run the generators in a process that has limits of memory and time and sees no file. None
            isolates where that is possible: on Linux, on the CPU.
        provider: the former name of `device`.

    Raises:
        VerificationError: a signature, digest, schema or ONNX rule does not hold, or the hospital has
            withdrawn the release.
        DependencyError: the device is `cuda`, and CUDA does not run.
        InputError: the bundle or the key cannot be read.
        UsageError: an argument has a wrong type, or isolation is not possible here.
    """
    from consumer.sampling import checked
    from consumer.sampling.synthetic_bundle import Bundle
    from sharekit.trust.trust_store import NAME

    place = checked.path("path", path)
    if key is None and not NAME.fullmatch(str(place)):
        raise UsageError(
            "key",
            expected="the hospital's public key",
            found="none",
            next_step="name its file with --key PUB",
        )
    chosen = checked.text("device", device if provider is None else provider)
    return Bundle.open(place, None if key is None else checked.path("key", key), chosen, threads, isolate)


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'consumer' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LATE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE})
