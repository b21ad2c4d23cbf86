"""Keep checkpoints next to the output, from which a killed training resumes without any difference."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consumer.training.training_settings import upgraded
from sharekit.errors import InputError
from sharekit.storage import files

FORMAT = 1
MAX_BYTES = 2**34
_NAME = "checkpoint.pt"


@dataclass(frozen=True)
class CheckpointFolder:
    """The folder `OUT.training/`, which exists while a training is unfinished."""

    path: Path
    fingerprint: Mapping[str, Any]
    """Settings and digests of the data; a checkpoint with other values is refused."""

    @staticmethod
    def beside(out: Path, fingerprint: Mapping[str, Any]) -> CheckpointFolder:
        return CheckpointFolder(out.with_name(f"{out.name}.training"), fingerprint)

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint atomically; only its owner can read it."""
        import torch

        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save({"format": FORMAT, "fingerprint": dict(self.fingerprint), "state": dict(state)}, buffer)
        files.write_bytes(self.path / _NAME, buffer.getvalue(), mode=0o600)

    def load(self) -> dict[str, Any] | None:
        """The last saved state; None if there is no checkpoint.

        Raises:
            InputError: the checkpoint is damaged, or belongs to a training with other settings or data.
        """
        import torch

        path = self.path / _NAME
        if not path.exists():
            return None
        data = files.read_bytes(path, max_bytes=MAX_BYTES)
        again = f"remove {self.path} to train from the start"
        try:
            saved = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
            found, state = upgraded(saved["fingerprint"]), saved["state"]
            if saved["format"] != FORMAT:
                raise ValueError(f"format {saved['format']}")
        except Exception as error:
            raise InputError(
                path,
                expected="a checkpoint of `consumer train`",
                found=f"{type(error).__name__}: {error}"[:300],
                next_step=again,
            ) from None
        if found != self.fingerprint:
            differing = sorted(
                name for name in {*found, *self.fingerprint} if found.get(name) != self.fingerprint.get(name)
            )
            raise InputError(
                path,
                expected="the checkpoint of a training with these settings on these data",
                found="another "
                + ", another ".join(
                    f"{name} ({found.get(name)}, now {self.fingerprint.get(name)})" for name in differing
                ),
                next_step=f"run the earlier command again, or {again}",
            )
        return dict(state)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
