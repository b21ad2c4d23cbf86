"""What every test shares: one thread a process, which tests run side by side, and the real data sets."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

# Before torch, NumPy or ONNX Runtime start their thread pools: two busy cores run many threads badly.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

# Ray's workers run at nice 15 by default: on a busy machine, tests would wait minutes for them.
os.environ.setdefault("RAY_worker_niceness", "0")

# A shell's background jobs ignore SIGINT, and so would everything that is interrupted in a test.
signal.signal(signal.SIGINT, signal.default_int_handler)

RAY = "ray"
REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `--dist loadgroup`: a module's tests share one process, and so do all that start Ray.

    Those that start Ray take longest and come first, then the modules with the most tests: both processes end
    at about the same time.
    """
    groups = {item: _group(item) for item in items}
    sizes = Counter(groups.values())
    items.sort(key=lambda item: (groups[item] != RAY, -sizes[groups[item]]))
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))


def _group(item: pytest.Item) -> str:
    return RAY if item.get_closest_marker(RAY) else item.nodeid.partition("::")[0]


def _real_data(name: str) -> Path:
    folder = REAL_DATA / name
    if not folder.is_dir():
        pytest.skip(f"the real images of {name} are not beside the project")
    return folder


@pytest.fixture(scope="session")
def kvasir_seg() -> Path:
    """Colonoscopy polyps: `images/` and `masks/` of the same stems, JPEG."""
    return _real_data("kvasir-seg")


@pytest.fixture(scope="session")
def dsb2018_nuclei() -> Path:
    """Cell nuclei: `images/` RGBA and `masks/`, PNG."""
    return _real_data("dsb2018-nuclei")
