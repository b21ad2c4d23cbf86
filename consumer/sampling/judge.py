"""A segmenter that judges samples: one whose mask it disagrees with is drawn again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumer.sampling import checked
from consumer.sampling.checked import refusal
from consumer.sampling.refinement import LEAST_AGREEMENT, JudgedBy
from sharekit.bundle.manifest import GeneratorEntry
from sharekit.errors import InputError
from sharekit.program.onnx_runtime import onnxruntime
from sharekit.segmenter.contract import INPUT_NAME, Pixels, SegmenterContract, contract_of
from sharekit.segmenter.model_file import parse_model
from sharekit.segmenter.segmenter_policy import MAX_BYTES
from sharekit.storage import files


@dataclass(frozen=True)
class Judge:
    """Your own segmenter, such as one that `consumer train` made from your real images; `open` reads one.

    Its file is run like a program of yours: take no stranger's.
    """

    data: bytes = field(repr=False)
    """Content of the ONNX file, which holds the segmenter's contract."""
    least_agreement: float = LEAST_AGREEMENT
    """IoU of a sample's masks and the segmenter's, above 0 and at most 1; below it, the sample is redrawn."""
    _sessions: dict[int, Any] = field(default_factory=dict, repr=False, compare=False)
    """One by process: a forked worker must not use its parent's."""

    def __post_init__(self) -> None:
        if not 0 < checked.real("least agreement", self.least_agreement) <= 1:
            raise refusal("least agreement", "above 0, at most 1", str(self.least_agreement))

    @staticmethod
    def open(path: str | Path, least_agreement: float = LEAST_AGREEMENT) -> Judge:
        """Read a segmenter's ONNX file.

        Raises:
            InputError: the file is missing, is no such model, has no contract, or does not run.
            UsageError: the least agreement is no share.
        """
        path = checked.path("judge", path)
        judge = Judge(files.read_bytes(path, max_bytes=MAX_BYTES), least_agreement)
        black = np.zeros((*judge.contract.size, judge.contract.image_channels), np.uint8)
        try:
            judge.masks(black)
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise InputError(
                path,
                expected="a segmenter that runs on one image of its contract",
                found=f"{str(error)!r:.300}",
                next_step="make one with `consumer train`",
            ) from error
        return judge

    def __reduce__(self) -> tuple[object, ...]:
        # Another process loads the model itself.
        return Judge, (self.data, self.least_agreement)

    @cached_property
    def contract(self) -> SegmenterContract:
        return contract_of(parse_model(self.data, "judge"), "judge")

    @cached_property
    def sha256(self) -> str:
        """Digest of the file, hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def described(self) -> JudgedBy:
        return JudgedBy(self.sha256, self.least_agreement)

    def require_class(self, entry: GeneratorEntry) -> None:
        """Refuse a generator none of whose classes the segmenter knows.

        Raises:
            UsageError: naming the classes of both.
        """
        drawn, known = entry.spec.layout.mask_classes, self.contract.classes
        if not set(drawn) & set(known):
            expected = f"a segmenter of {' or '.join(drawn)}, which the generators draw"
            raise refusal("judge", expected, f"one of {' and '.join(known)}")

    def masks(self, image: Pixels) -> dict[str, NDArray[np.bool_]]:
        """The masks `(h, w)` bool, at the segmenter's size, that it finds in an 8-bit image, by class."""
        contract = self.contract
        (raw,) = self._session.run(None, {INPUT_NAME: contract.prepare(image)[None]})
        found = contract.probabilities(raw)[0] > contract.threshold
        return dict(zip(contract.classes, found, strict=True))

    def agreement(self, image: Pixels, masks: Mapping[str, Pixels]) -> float:
        """IoU, 0 to 1, of a sample's masks and the segmenter's, over all classes that both have.

        Args:
            image: `(H, W, C)`, 8-bit.
            masks: by class name, `(H, W)` of 0 and 255.
        """
        found = self.masks(image)
        shared = [name for name in masks if name in found]
        ours = np.stack([self.contract.prepare_mask(masks[name]) for name in shared])
        theirs = np.stack([found[name] for name in shared])
        union = int(np.count_nonzero(ours | theirs))
        return int(np.count_nonzero(ours & theirs)) / union if union else 1.0

    def miss(self, agreement: float) -> float:
        """How far an agreement is below the least one; 0 if the sample need not be drawn again."""
        return max(0.0, self.least_agreement - agreement)

    @property
    def _session(self) -> Any:
        process = os.getpid()
        if process not in self._sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            options.log_severity_level = 4  # fatal
            options.add_session_config_entry("session.load_model_format", "ONNX")
            providers = ["CPUExecutionProvider"]
            self._sessions[process] = onnxruntime.InferenceSession(self.data, options, providers=providers)
        return self._sessions[process]
