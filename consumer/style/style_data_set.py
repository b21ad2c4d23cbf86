"""Style a data set with a bundle's statistics, after verifying the bundle."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consumer.datasets.reader import read_folder
from consumer.style import gatys
from consumer.style.gatys import StyleSettings
from consumer.style.styled_dataset import StyledDataset, read_statistics, style_dataset
from consumer.torch_support import choose_device, torch_module
from consumer.trust import verify_for
from sharekit.bundle.colour_statistics import ColourStatistics
from sharekit.program.progress import ProgressCallback, ignore


@dataclass(frozen=True)
class StyledBundle:
    """A styled data set, and the bundle whose statistics it was styled with."""

    styled: StyledDataset
    verdict: str
    warnings: tuple[str, ...]
    hospital: str
    fingerprint: str
    device: str
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return {
            **self.styled.to_json(),
            "verdict": self.verdict,
            "warnings": list(self.warnings),
            "device": self.device,
            "seconds": round(self.seconds, 1),
        }


def style_data_set(
    dataset: Path,
    bundle: Path,
    key: str | Path | None = None,
    out: Path | None = None,
    settings: StyleSettings | None = None,
    *,
    features: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    batch_size: int = 4,
    on_progress: ProgressCallback = ignore,
) -> StyledBundle:
    """Give a data set the look of the real images behind a bundle.

    Args:
        dataset: folder of the data set.
        bundle: folder or zip of the bundle.
        key: the hospital's public key; None takes the key that the data set was drawn with.
        out: folder to write; None appends `-styled` to the data set's path.
        settings: settings of the method.
        features: file of the feature network; None searches this machine.
        device: `auto`, `cuda` or `cpu`.
        threads: threads of torch on the CPU; None leaves the choice to torch.
        batch_size: images at once; changes only the speed.
        on_progress: called with the number of images done, including fractions.

    Raises:
        VerificationError: the bundle is not what the key's owner signed.
        InputError: see `style_dataset`.
        DependencyError: torch, the device or the feature file is missing; protected colours need none.
    """
    folder = read_folder(dataset)
    verified = verify_for(folder, bundle, key)
    statistics = read_statistics(verified)
    network = None
    if isinstance(statistics, ColourStatistics):
        device = "cpu"
    else:
        device = choose_device(device)
        network = gatys.load_network(statistics, features)
        if threads is not None:
            torch_module().set_num_threads(threads)
    root = dataset.resolve()
    started = time.monotonic()
    styled = style_dataset(
        folder,
        statistics,
        network,
        out or root.with_name(f"{root.name}-styled"),
        settings,
        batch_size=batch_size,
        device=device,
        on_progress=on_progress,
    )
    return StyledBundle(
        styled,
        verified.verdict,
        tuple(warning.message for warning in verified.warnings),
        verified.manifest.hospital,
        verified.fingerprint,
        device,
        time.monotonic() - started,
    )
