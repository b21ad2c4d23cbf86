"""Load torch only where a command needs it, and choose a device that exists.

`define_missing_operators` makes torchvision work with a build of torch that its compiled operators do not
fit. On import, torchvision's Python code describes the operators `nms` and `qnms`, and fails when no compiled
library has defined them. Nothing here calls these operators: our transforms and networks are plain torch.
"""

from __future__ import annotations

import importlib
from typing import Any

from sharekit.errors import DependencyError, missing_package

EXTRA = "train"
_SIGNATURES = tuple(
    f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor" for name in ("nms", "qnms")
)
_kept_alive: list[Any] = []


def torch_module() -> Any:
    """Import torch.

    Raises:
        DependencyError: torch is not installed.
    """
    try:
        import torch
    except ImportError:
        raise missing_package("torch", "torch") from None
    return torch


def choose_device(name: str) -> str:
    """Resolve `auto` to `cuda` if torch can use it, otherwise to `cpu`; return any other name unchanged.

    Raises:
        DependencyError: `cuda` is requested, but torch cannot use it.
    """
    available = torch_module().cuda.is_available()
    if name == "cuda" and not available:
        raise DependencyError(
            "--device cuda",
            expected="a CUDA device that torch can use",
            found="none",
            next_step="use --device cpu, or install a CUDA build of torch",
        )
    return ("cuda" if available else "cpu") if name == "auto" else name


def define_missing_operators() -> None:
    """Make `import torchvision` work; do nothing if it already works.

    Raises:
        DependencyError: torch or torchvision is not installed.
    """
    try:
        import torch
    except ImportError:
        raise missing_package("torch", EXTRA) from None
    try:
        importlib.import_module("torchvision")
    except ImportError:
        raise missing_package("torchvision", EXTRA) from None
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        library = torch.library.Library("torchvision", "FRAGMENT")
        for signature in _SIGNATURES:
            library.define(signature)
        _kept_alive.append(library)
        importlib.import_module("torchvision")
