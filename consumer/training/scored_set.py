"""The scores of a set of images that had no part in a training, image by image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharekit.segmenter.metrics import ImageScores, mean_scores


@dataclass(frozen=True)
class ScoredSet:
    """A test set, scored with the best and with the last weights."""

    folder: Path
    foreground: tuple[float, ...]
    """Share of each image that its true mask marks, 0 to 1, at the model's size."""
    best: tuple[ImageScores, ...]
    last: tuple[ImageScores, ...]

    def to_json(self) -> dict[str, Any]:
        """Each metric's mean over the images, and the IoU of every image."""
        means = {
            which: {"metrics": {name: value.to_json() for name, value in mean_scores(scores).items()}}
            for which, scores in (("best", self.best), ("last", self.last))
        }
        return {
            "folder": str(self.folder),
            "images": len(self.foreground),
            **means,
            "foreground": [round(share, 6) for share in self.foreground],
            "best_iou": [round(score.iou, 6) for score in self.best],
            "last_iou": [round(score.iou, 6) for score in self.last],
        }
