"""The manifest of a bundle: Sharekit's own fields in `manifest.json`, a file that the signature covers."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sharekit.bundle.vetted import Vetted
from sharekit.errors import VerificationError
from sharekit.generator.noise import NOISE_SCHEME
from sharekit.generator.spec import GeneratorSpec
from sharekit.program.phrases import counted
from sharekit.storage import files, schema

MANIFEST_NAME = "manifest.json"
SCHEMA_VERSION = 1
GENERATOR_FOLDER = "generators/"


EXPIRED = "expired"
CREATED_IN_THE_FUTURE = "created-in-the-future"
CLOCK_TOLERANCE = timedelta(minutes=10)
"""How far two machines' clocks may differ before a date counts as in the future."""


@dataclass(frozen=True)
class BundleWarning:
    """What a person should know about a bundle that is authentic nevertheless."""

    kind: str  # `EXPIRED` or `CREATED_IN_THE_FUTURE`
    message: str  # one sentence

    def to_json(self) -> dict[str, str]:
        return {"kind": self.kind, "message": self.message}


@dataclass(frozen=True)
class FileEntry:
    """A file of the bundle. Law: `from_json(to_json(x)) == x`."""

    path: str  # relative POSIX path
    length: int  # bytes
    sha256: str

    def to_json(self) -> dict[str, Any]:
        return {"path": self.path, "length": self.length, "sha256": self.sha256}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> FileEntry:
        return FileEntry(value["path"], int(value["length"]), value["sha256"])


@dataclass(frozen=True)
class Parity:
    """How much the ONNX file differs from the trained network. Law: `from_json(to_json(x)) == x`."""

    max_abs_difference: float  # largest over all output values on the same noise; outputs lie in [-1, 1]
    opset: int

    def to_json(self) -> dict[str, Any]:
        return {"max_abs_difference": self.max_abs_difference, "opset": self.opset}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Parity:
        return Parity(float(value["max_abs_difference"]), int(value["opset"]))


class Unit(StrEnum):
    """Whom a count of units counts."""

    PATIENT = "patient"
    PICTURE = "picture"
    """A distinct picture: the patients of these images are not all known."""


@dataclass(frozen=True)
class Group:
    """What stands behind a generator, in numbers alone. Law: `from_json(to_json(x)) == x`."""

    images: int
    units: int
    unit: Unit

    def __str__(self) -> str:
        whose = counted(self.units, "patient" if self.unit is Unit.PATIENT else "distinct picture")
        return f"{counted(self.images, 'image')} of {whose}"

    def to_json(self) -> dict[str, Any]:
        return {"images": self.images, "units": self.units, "unit": str(self.unit)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Group:
        return Group(int(value["images"]), int(value["units"]), Unit(value["unit"]))


@dataclass(frozen=True)
class GeneratorEntry:
    """A generator of the bundle. Law: `from_json(to_json(x)) == x`."""

    spec: GeneratorSpec
    file: str  # generators/<id>.onnx
    sha256: str
    profile: str  # name of the training settings
    parity: Parity
    verdict: str
    """The audit's verdict, in words."""
    group: Group | None = None
    """None in bundles of earlier releases."""
    vetted: Vetted | None = None
    """Samples that the hospital has looked at; None if it has not."""

    def to_json(self) -> dict[str, Any]:
        optional = {"group": self.group, "vetted": self.vetted}
        return {
            "spec": self.spec.to_json(),
            "file": self.file,
            "sha256": self.sha256,
            "profile": self.profile,
            "parity": self.parity.to_json(),
            "verdict": self.verdict,
            **{name: value.to_json() for name, value in optional.items() if value is not None},
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> GeneratorEntry:
        return GeneratorEntry(
            GeneratorSpec.from_json(value["spec"]),
            value["file"],
            value["sha256"],
            value["profile"],
            Parity.from_json(value["parity"]),
            value["verdict"],
            Group.from_json(value["group"]) if "group" in value else None,
            Vetted.from_json(value["vetted"]) if "vetted" in value else None,
        )


@dataclass(frozen=True)
class FeatureSource:
    """The pretrained network behind style statistics. Law: `from_json(to_json(x)) == x`."""

    name: str
    sha256: str  # digest of its weights file

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "sha256": self.sha256}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> FeatureSource:
        return FeatureSource(value["name"], value["sha256"])


@dataclass(frozen=True)
class Dependencies:
    """What a consumer needs to use the bundle. Law: `from_json(to_json(x)) == x`."""

    onnx_opset: int
    onnx_ir_version: int
    noise_scheme: str = NOISE_SCHEME
    features: FeatureSource | None = None
    """The feature network; None if the bundle has no style statistics."""

    def to_json(self) -> dict[str, Any]:
        return {
            "onnx_opset": self.onnx_opset,
            "onnx_ir_version": self.onnx_ir_version,
            "noise_scheme": self.noise_scheme,
            "features": self.features and self.features.to_json(),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Dependencies:
        return Dependencies(
            int(value["onnx_opset"]),
            int(value["onnx_ir_version"]),
            value["noise_scheme"],
            value["features"] and FeatureSource.from_json(value["features"]),
        )


@dataclass(frozen=True)
class Limits:
    """The largest request that the hospital vouches for. Law: `from_json(to_json(x)) == x`."""

    max_side: int = 1024  # pixels
    max_batch: int = 64  # samples

    def to_json(self) -> dict[str, Any]:
        return {"max_side": self.max_side, "max_batch": self.max_batch}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Limits:
        return Limits(int(value["max_side"]), int(value["max_batch"]))


@dataclass(frozen=True)
class OverlayCounts:
    """What was done about text and graphics that devices wrote into the real images, in numbers of images.

    Law: `from_json(to_json(x)) == x`.
    """

    removed: int
    """Painted over, as far as a detector found them."""
    kept: int
    """Left in on purpose: nobody looked (`--keep-overlays`)."""
    unknown: int
    """Taken by an earlier release, which did not look."""

    @property
    def images(self) -> int:
        return self.removed + self.kept + self.unknown

    def __str__(self) -> str:
        parts = [
            (self.kept, "were taken on purpose without looking for them"),
            (self.unknown, "were taken by a release that did not look for them"),
        ]
        said = [f"{count} of {counted(self.images, 'image')} {words}" for count, words in parts if count]
        if self.removed:
            images = counted(self.images, "image")
            said.append(f"from {self.removed} of {images} they were removed, as far as a detector found them")
        return "; ".join(said)

    def to_json(self) -> dict[str, int]:
        return {"removed": self.removed, "kept": self.kept, "unknown": self.unknown}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> OverlayCounts:
        return OverlayCounts(int(value["removed"]), int(value["kept"]), int(value["unknown"]))


@dataclass(frozen=True)
class Manifest:
    """What the hospital says the bundle holds. Law: `from_json(to_json(x)) == x`.

    Raises:
        ValueError: a time that is not in UTC or has a fraction of a second.
    """

    hospital: str
    release: int  # counts the hospital's releases from 1
    created: datetime  # UTC, whole seconds
    expires: datetime  # UTC, whole seconds
    generators: tuple[GeneratorEntry, ...]
    dependencies: Dependencies
    limits: Limits = Limits()
    files: tuple[FileEntry, ...] = ()
    """All files except `manifest.json` and `model.sig`, sorted by path; `write_bundle` fills them in."""
    overlays: OverlayCounts | None = None
    """None in bundles of earlier releases."""

    def __post_init__(self) -> None:
        for time in (self.created, self.expires):
            if time.utcoffset() != timedelta(0) or time.microsecond:
                raise ValueError(f"a time in UTC with whole seconds is needed, not {time!r}")

    def expired(self, now: datetime) -> bool:
        """Whether a newer release should replace the bundle; an expired bundle is still authentic."""
        return now >= self.expires

    def warnings(self, now: datetime) -> tuple[BundleWarning, ...]:
        """Warnings about the bundle's dates at the time `now` (UTC)."""
        found = []
        if self.expired(now):
            message = "The bundle has expired: ask the hospital for a newer release."
            found.append(BundleWarning(EXPIRED, message))
        if self.created > now + CLOCK_TOLERANCE:
            message = (
                f"The bundle says that it was created in the future, on {self.created:%Y-%m-%d}: check this"
                " machine's clock, or ask the hospital."
            )
            found.append(BundleWarning(CREATED_IN_THE_FUTURE, message))
        return tuple(found)

    def generator(self, identifier: str) -> GeneratorEntry:
        """The generator with this identifier.

        Raises:
            KeyError: there is none.
        """
        for entry in self.generators:
            if entry.spec.id == identifier:
                return entry
        raise KeyError(identifier)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "hospital": self.hospital,
            "release": self.release,
            "created": _format_time(self.created),
            "expires": _format_time(self.expires),
            "files": [entry.to_json() for entry in self.files],
            "generators": [entry.to_json() for entry in self.generators],
            "dependencies": self.dependencies.to_json(),
            "limits": self.limits.to_json(),
            **({"overlays": self.overlays.to_json()} if self.overlays is not None else {}),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Manifest:
        return Manifest(
            value["hospital"],
            int(value["release"]),
            _parse_time(value["created"]),
            _parse_time(value["expires"]),
            tuple(GeneratorEntry.from_json(entry) for entry in value["generators"]),
            Dependencies.from_json(value["dependencies"]),
            Limits.from_json(value["limits"]),
            tuple(FileEntry.from_json(entry) for entry in value["files"]),
            OverlayCounts.from_json(value["overlays"]) if "overlays" in value else None,
        )


def parse(data: bytes, item: object = MANIFEST_NAME) -> Manifest:
    """Read an untrusted manifest and check its JSON, its schema, and the rules that a schema can't express.

    Raises:
        VerificationError: naming `item`.
    """
    value = files.parse_json(data, item)
    schema.validate("manifest", value, item)
    try:
        manifest = Manifest.from_json(value)
    except ValueError as error:
        raise _inconsistent(item, "values that fit together", str(error)) from None
    check_consistency(manifest, item)
    return manifest


def check_consistency(manifest: Manifest, item: object = MANIFEST_NAME) -> None:
    """Check that the entries of a manifest agree with each other, which a schema can't do.

    Raises:
        VerificationError: a file or generator occurs twice, a generator lacks its file or has another digest,
            a generator file is not listed, a generator has more units than images, vetted samples are of
            several seeds, scales are impossible or beyond the manifest's own limits, or the bundle expires
            before its creation.
    """

    def require(holds: bool, expected: str, found: str) -> None:
        if not holds:
            raise _inconsistent(item, expected, found)

    paths = [entry.path for entry in manifest.files]
    require(paths == sorted(set(paths)), "files sorted by path, each once", "another order, or a path twice")
    identifiers = [entry.spec.id for entry in manifest.generators]
    require(len(set(identifiers)) == len(identifiers), "every generator once", "an identifier twice")
    listed = {entry.path: entry.sha256 for entry in manifest.files}
    for entry in manifest.generators:
        name = entry.spec.id
        require(entry.file == f"{GENERATOR_FOLDER}{name}.onnx", f"the file of generator {name}", entry.file)
        require(
            listed.get(entry.file) == entry.sha256,
            f"generator {name} with the digest {entry.sha256} among the files",
            listed.get(entry.file, "no such file"),
        )
        _check_scales(entry, manifest.limits, require)
        group = entry.group
        few = group is None or group.units <= group.images
        require(few, f"no more units than images behind generator {name}", str(group))
    seeds = {entry.vetted.seed for entry in manifest.generators if entry.vetted is not None}
    require(len(seeds) < 2, "vetted samples of one seed", ", ".join(map(str, sorted(seeds))))
    spare = {path for path in listed if path.startswith(GENERATOR_FOLDER)} - {
        entry.file for entry in manifest.generators
    }
    require(not spare, "every file of generators/ described", ", ".join(sorted(spare)))
    require(manifest.created < manifest.expires, "an expiry after the creation", str(manifest.expires))


def _inconsistent(item: object, expected: str, found: str) -> VerificationError:
    next_step = "do not use it; ask the hospital to export again"
    return VerificationError(item, expected=expected, found=found, next_step=next_step)


def is_known_file(path: str) -> bool:
    """Whether a bundle may hold a file with this name, apart from the manifest and the signature."""
    return schema.fits("manifest", "known_file", path)


def _check_scales(entry: GeneratorEntry, limits: Limits, require: Any) -> None:
    scales, channels = entry.spec.scales, entry.spec.layout.channels
    name = f"generator {entry.spec.id}"
    expected = [1] + [channels] * (len(scales) - 1)
    found = [scale.noise_channels for scale in scales]
    require(found == expected, f"noise channels {expected} of {name}", str(found))
    sizes = [(scale.height, scale.width) for scale in scales]
    growing = all(a[0] <= b[0] and a[1] <= b[1] for a, b in itertools.pairwise(sizes))
    require(growing, f"scales of {name} from coarse to fine", str(sizes))
    largest = max(sizes[-1])
    within = largest <= limits.max_side
    require(within, f"sides of {name} within the limit of {limits.max_side} pixels", str(largest))


def _format_time(time: datetime) -> str:
    return time.replace(tzinfo=None).isoformat() + "Z"


def _parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
