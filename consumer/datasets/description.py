"""`dataset.json`: which bundle a data set was drawn from, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consumer.sampling.refinement import UNREFINED, JudgedBy, Refinement
from consumer.sampling.request import Size
from sharekit import __version__
from sharekit.generator.noise import NOISE_SCHEME
from sharekit.generator.tensors import ChannelLayout
from sharekit.storage import schema

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class DatasetDescription:
    """`dataset.json`: enough to draw the same data set again. Law: `from_json(to_json(x)) == x`."""

    manifest_sha256: str
    """Digest of the bundle's manifest, which in turn holds the digest of every file of the bundle."""
    hospital: str
    release: int
    public_key: str  # PEM
    fingerprint: str  # digest of the public key
    seed: int
    count: int
    generators: tuple[str, ...]
    """Identifiers; sample i comes from the generator at position i modulo their number, if the bundle lists
    no vetted samples of this seed."""
    size: Size | None  # None: each generator's own
    layout: ChannelLayout
    provider: str  # cuda or cpu
    noise_scheme: str = NOISE_SCHEME
    program_version: str = __version__
    refinement: Refinement = UNREFINED
    vetted: int | None = None
    """Number of samples that the hospital vetted; None for a bundle without a list."""
    within_coverage: int | None = None
    """Number of samples whose coverage lies in the range of `refinement`, if it has one."""
    judge: JudgedBy | None = None
    """The segmenter that decided which samples were drawn again, if there was one."""
    agreeing: int | None = None
    """Number of samples with at least the least agreement, if there was a judge."""

    def to_json(self) -> dict[str, Any]:
        refined = {} if self.refinement == UNREFINED else {"refinement": self.refinement.to_json()}
        counted = {
            "vetted": self.vetted,
            "within_coverage": self.within_coverage,
            "agreeing": self.agreeing,
        }
        judge = {} if self.judge is None else {"judge": self.judge.to_json()}
        return {
            "schema_version": SCHEMA_VERSION,
            "bundle": {
                "manifest_sha256": self.manifest_sha256,
                "hospital": self.hospital,
                "release": self.release,
            },
            "key": {"public_key": self.public_key, "fingerprint": self.fingerprint},
            "seed": self.seed,
            "count": self.count,
            "generators": list(self.generators),
            "size": None if self.size is None else {"height": self.size.height, "width": self.size.width},
            "layout": self.layout.to_json(),
            "provider": self.provider,
            "noise_scheme": self.noise_scheme,
            "program_version": self.program_version,
            **refined,
            **judge,
            **{name: count for name, count in counted.items() if count is not None},
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> DatasetDescription:
        bundle, key, size = value["bundle"], value["key"], value["size"]
        return DatasetDescription(
            bundle["manifest_sha256"],
            bundle["hospital"],
            int(bundle["release"]),
            key["public_key"],
            key["fingerprint"],
            int(value["seed"]),
            int(value["count"]),
            tuple(value["generators"]),
            None if size is None else Size(width=int(size["width"]), height=int(size["height"])),
            ChannelLayout.from_json(value["layout"]),
            value["provider"],
            value["noise_scheme"],
            value["program_version"],
            Refinement.from_json(value.get("refinement", {})),
            value.get("vetted"),
            value.get("within_coverage"),
            None if "judge" not in value else JudgedBy(**value["judge"]),
            value.get("agreeing"),
        )

    @staticmethod
    def read(value: Any, item: object) -> DatasetDescription | None:
        """Read a `dataset.json` of unknown origin; None where another program, such as nnU-Net, wrote it.

        Raises:
            VerificationError: the value does not fit the schema; the error names `item`.
        """
        if not isinstance(value, Mapping) or "bundle" not in value:
            return None
        schema.validate("dataset", value, item)
        return DatasetDescription.from_json(value)
