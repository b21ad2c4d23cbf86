"""What goes between intake and the process that decodes a stranger's DICOM file.

to it    two lengths of eight bytes, then the image's bytes and those of its segmentation, or none
from it  a length of eight bytes, then JSON; after a success `samples` bytes: frames, then masks
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LENGTHS = struct.Struct("<QQ")
LENGTH = struct.Struct("<Q")
MAX_JSON = 2**20
MAX_SAMPLES = 2**30
"""Most bytes of pixels and masks that one file may decode to."""
MAX_FRAMES = 2000
MAX_PIXELS = 64 * 10**6
"""Most pixels of one frame, as for other pictures."""
MAX_CLASSES = 64


@dataclass(frozen=True)
class Header:
    """What the process says about a decoded file. Law: `from_json(to_json(x)) == x`."""

    frames: int
    height: int
    width: int
    channels: int  # 3 (RGB) or 1 (grey)
    patient: str
    """PatientID, or the UID of the series or file if there is none."""
    burned_in: bool
    """Whether the file says that text is burned into its pixels."""
    regions: tuple[tuple[int, int, int, int], ...]
    """Left, top, right and bottom of the ultrasound regions; empty: the file declares none."""
    classes: tuple[str, ...]
    """Classes of its segmentation; empty without one."""

    @property
    def samples(self) -> int:
        """Bytes of all frames and masks."""
        return self.frames * self.height * self.width * (self.channels + len(self.classes))

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "regions": [list(box) for box in self.regions], "classes": list(self.classes)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Header:
        """Read what an untrusted process wrote.

        Raises:
            ValueError, KeyError, TypeError: it is nothing that an honest process writes.
        """
        header = Header(
            int(value["frames"]),
            int(value["height"]),
            int(value["width"]),
            int(value["channels"]),
            str(value["patient"])[:512],
            bool(value["burned_in"]),
            tuple(_box(box) for box in value["regions"][:100]),
            tuple(map(str, value["classes"])),
        )
        sides_fit = 1 <= header.frames <= MAX_FRAMES and min(header.height, header.width) >= 1
        if not (sides_fit and header.channels in (1, 3) and len(header.classes) <= MAX_CLASSES):
            raise ValueError("sizes out of bounds")
        if header.height * header.width > MAX_PIXELS or header.samples > MAX_SAMPLES:
            raise ValueError("too many samples")
        return header


def _box(values: Sequence[Any]) -> tuple[int, int, int, int]:
    left, top, right, bottom = map(int, values)
    return left, top, right, bottom
