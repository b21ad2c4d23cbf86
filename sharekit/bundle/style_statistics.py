"""Style statistics: Gram matrices averaged over at least k real images, and their form in a bundle.

A bundle holds `style/style.json` and one float32 array per layer, `style/<layer>.npy`. An average of few
images would describe each of them too well, so both sides refuse fewer than k.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharekit.bundle.features import FeatureNetwork
from sharekit.errors import PolicyError, VerificationError
from sharekit.storage import files, schema

SCHEMA_VERSION = 1
FOLDER = "style"
DESCRIPTION_FILE = f"{FOLDER}/style.json"
MIN_IMAGES = 5
"""Default k: the fewest real images that statistics may be averaged over."""
DEFAULT_MAX_SIDE = 256
"""Pixels: a real image is reduced to at most this long side before its features are computed."""

Gram = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class StyleStatistics:
    """Averaged Gram matrices `F Fᵀ / (c h w)`, see `features.gram`. Law: `from_files(to_files(x)) == x`."""

    network: str
    """Name of the feature network, such as `vgg16-torchvision`."""
    network_sha256: str
    """SHA-256 of the feature file, hexadecimal."""
    image_count: int
    """Number of real images in the average (k)."""
    max_side: int
    """Pixels: images were reduced to at most this long side; never enlarged."""
    grams: Mapping[str, Gram]
    """Layer name to float32 `(channels, channels)`, symmetric, non-negative diagonal."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StyleStatistics) and self.to_files() == other.to_files()

    def __hash__(self) -> int:
        return hash((self.network_sha256, self.image_count, self.max_side))

    def to_files(self) -> dict[str, bytes]:
        """Bundle path to file content; equal statistics give equal bytes."""
        layers = [
            {"name": name, "channels": len(gram), "file": f"{FOLDER}/{name}.npy"}
            for name, gram in sorted(self.grams.items())
        ]
        description = {
            "schema_version": SCHEMA_VERSION,
            "network": {"name": self.network, "sha256": self.network_sha256},
            "image_count": self.image_count,
            "max_side": self.max_side,
            "layers": layers,
        }
        contents = {DESCRIPTION_FILE: files.dump_json(description)}
        for name, gram in self.grams.items():
            contents[f"{FOLDER}/{name}.npy"] = _npy(gram)
        return contents

    @staticmethod
    def from_files(contents: Mapping[str, bytes], *, min_images: int = MIN_IMAGES) -> StyleStatistics:
        """Read the files that `to_files` wrote, from an untrusted source.

        Args:
            contents: bundle path to file content; other paths are ignored.
            min_images: smallest accepted number of images in the average.

        Raises:
            VerificationError: a file is missing, a shape is wrong, or a value cannot be in a Gram matrix.
            PolicyError: the average is over fewer than `min_images` images.
        """
        description = files.parse_json(_content(contents, DESCRIPTION_FILE), DESCRIPTION_FILE)
        schema.validate("style", description, DESCRIPTION_FILE)
        layers = {layer["name"]: (layer["file"], layer["channels"]) for layer in description["layers"]}
        if sorted(f"{FOLDER}/{name}.npy" for name in layers) != sorted(
            layer["file"] for layer in description["layers"]
        ):
            raise _refuse(
                DESCRIPTION_FILE, "every layer once, in its own file", "another file, or a layer twice"
            )
        require_images(description["image_count"], min_images, DESCRIPTION_FILE)
        grams = {
            layer: _read_gram(_content(contents, file), file, channels)
            for layer, (file, channels) in layers.items()
        }
        network = description["network"]
        return StyleStatistics(
            network["name"], network["sha256"], description["image_count"], description["max_side"], grams
        )


def average(
    network: FeatureNetwork,
    grams_per_image: Iterable[Mapping[str, NDArray[Any]]],
    *,
    max_side: int = DEFAULT_MAX_SIDE,
    min_images: int = MIN_IMAGES,
) -> StyleStatistics:
    """Average the Gram matrices of real images with equal weights.

    Args:
        network: the network that computed the activations.
        grams_per_image: for each image, layer name to `(channels, channels)`.
        max_side: long side, in pixels, to which the images were reduced.
        min_images: smallest allowed number of images, from the release policy.

    Raises:
        PolicyError: fewer than `min_images` images.
    """
    sums: dict[str, NDArray[np.float64]] = {}
    count = 0
    for grams in grams_per_image:
        count += 1
        for layer, gram in grams.items():
            sums[layer] = sums.get(layer, np.float64(0)) + np.asarray(gram, np.float64)
    require_images(count, min_images, "style statistics")
    # A matrix product need not round symmetrically.
    means = {layer: ((total + total.T) / (2 * count)).astype(np.float32) for layer, total in sums.items()}
    return StyleStatistics(network.name, network.sha256, count, max_side, means)


def require_images(count: int, min_images: int, item: object) -> None:
    """Refuse an average of fewer than `min_images` images.

    Raises:
        PolicyError: naming `item`.
    """
    if count < min_images:
        raise PolicyError(
            item,
            expected=f"an average over at least {min_images} real images",
            found=f"{count} images",
            next_step="use a bundle or a node with more images; the statistics of few would describe each",
        )


def _content(contents: Mapping[str, bytes], path: str) -> bytes:
    try:
        return contents[path]
    except KeyError:
        raise _refuse(path, "this file in the bundle", "no such file") from None


def _npy(gram: Gram) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(gram, "<f4"), allow_pickle=False)
    return buffer.getvalue()


def _read_gram(data: bytes, item: str, channels: int) -> Gram:
    empty = _npy(np.zeros((channels, channels), np.float32))
    start = len(empty) - 4 * channels**2
    # Compare the header instead of parsing it: any other header could hold anything, even a pickle.
    if len(data) != len(empty) or data[:start] != empty[:start]:
        found = "another array, or something else"
        raise _refuse(item, f"a float32 Gram matrix of {channels} x {channels} as NumPy writes it", found)
    gram = np.frombuffer(data, "<f4", offset=start).reshape(channels, channels).copy()
    if not np.isfinite(gram).all():
        raise _refuse(item, "finite values", "NaN or an infinity")
    if not np.array_equal(gram, gram.T):
        raise _refuse(item, "a symmetric matrix", "an asymmetric one")
    if (np.diagonal(gram) < 0).any():
        raise _refuse(item, "a diagonal of squares", "a negative value")
    return gram


def _refuse(item: str, expected: str, found: str) -> VerificationError:
    return VerificationError(
        item, expected=expected, found=found, next_step="ask the publisher for a correct bundle"
    )
