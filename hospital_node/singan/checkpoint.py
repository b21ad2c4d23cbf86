"""Checkpoints: everything a killed training needs to go on as if nothing had happened.

They hold the reconstruction noise (z*) and the discriminator, which must never leave and are destroyed once
the generator is trained.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import torch

from sharekit.errors import NodeStateError
from sharekit.storage import files

MAX_BYTES = 2**33
FORMAT = 1
_NAME = "checkpoint.pt"


def save(directory: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint in `directory` atomically; only its owner can read it."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    files.write_bytes(directory / _NAME, buffer.getvalue(), mode=0o600)


def load(directory: Path, fingerprint: dict[str, Any]) -> dict[str, Any] | None:
    """The last checkpoint, or None if it does not exist.

    Args:
        fingerprint: identifies the training; a checkpoint of another training is refused.

    Raises:
        NodeStateError: the checkpoint is damaged, or of a training with other settings.
    """
    path = directory / _NAME
    if not path.exists():
        return None
    data = files.read_bytes(path, max_bytes=MAX_BYTES)
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
        found = state["fingerprint"] if state["format"] == FORMAT else f"format {state['format']}"
    except Exception as error:
        raise NodeStateError(
            path,
            expected="a checkpoint that this node wrote",
            found=f"{type(error).__name__}: {error}",
            next_step="remove the checkpoint to train this image from the start",
        ) from error
    if found != fingerprint:
        raise NodeStateError(
            path,
            expected=f"a checkpoint of {fingerprint}",
            found=str(found),
            next_step="use the settings that training began with, or remove the checkpoint to start again",
        )
    return state


def destroy(directory: Path) -> None:
    """Overwrite the checkpoint and remove it, and z* with it.

    Overwriting is the best that a program can do: a journalling file system, an SSD or a backup may keep
    copies.
    """
    for path in sorted(directory.glob(f"*{_NAME}*")):
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.write(os.urandom(size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
