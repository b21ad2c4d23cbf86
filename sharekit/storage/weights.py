"""Reads outside weights in two formats as NumPy arrays, without running code from the file.

A caller that knows a file's digest must compare it before calling these functions.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharekit.errors import VerificationError, missing_package
from sharekit.storage import files
from sharekit.storage.budget import Budget

HEADER_BUDGET = Budget(2**24, max_nodes=400_000, max_depth=8, max_keys=200_000)
"""For the header of a safetensors file: a tensor takes 7 values and 4 keys."""


def read_safetensors(data: bytes, item: object) -> dict[str, NDArray[np.float32]]:
    """Read the tensors of a safetensors file, which may hold only F16 and F32, by name as float32.

    The library refuses headers that are too long or wrong, gaps and overlaps between tensors, and bytes after
    the last tensor.

    Raises:
        VerificationError: naming `item`, if the file does not have this form.
        DependencyError: the package safetensors is not installed.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load
    except ImportError:
        raise missing_package("safetensors", "torch") from None
    header = data[8 : 8 + int.from_bytes(data[:8], "little")]
    files.parse_json(header, item, HEADER_BUDGET)  # counted before the library makes objects of it
    try:
        tensors = load(data)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise _refusal(item, f"{type(error).__name__}: {error}") from None
    for name, array in tensors.items():
        if array.dtype not in (np.float16, np.float32):
            raise _refusal(item, f"{name} of type {array.dtype}")
    return {name: array.astype(np.float32) for name, array in tensors.items()}


def _refusal(item: object, found: str) -> VerificationError:
    return VerificationError(
        item,
        expected="a safetensors file of F16 or F32 tensors",
        found=found,
        next_step="fetch the file again from its source",
    )


def read_numpy_pickle(data: bytes, item: object) -> Any:
    """Unpickle plain containers of NumPy arrays; any other global is refused before it is looked up.

    Raises:
        VerificationError: naming `item`, when the pickle asks for anything else or is damaged.
    """
    try:
        return _NumpyUnpickler(io.BytesIO(data)).load()
    except Exception as error:
        raise VerificationError(
            item,
            expected="a pickle of plain NumPy arrays",
            found=f"{type(error).__name__}: {error}",
            next_step="do not open this file; fetch it again from its source",
        ) from None


class _NumpyUnpickler(pickle.Unpickler):
    # NumPy moved the function between modules; an array's own __reduce__ returns it from the current one.
    _ALLOWED: Mapping[tuple[str, str], Any] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    }

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return self._ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"the global {module_name}.{global_name}") from None
