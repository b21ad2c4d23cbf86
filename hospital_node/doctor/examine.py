"""Run all checks in order: collect the facts, then pass them to the pure checks."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hospital_node.doctor import facts, machine
from hospital_node.doctor import node_folder as folder
from hospital_node.doctor.check import Check, Outcome, passed, problem
from hospital_node.isolation.closed_ray import MAX_DIRECTORY_LENGTH
from hospital_node.ledger.ledger import Ledger
from hospital_node.ledger.states import GeneratorState
from hospital_node.node.node import Node
from hospital_node.pool import live
from hospital_node.singan.config import TrainingConfig
from hospital_node.singan.needs import ImageNeeds, disk_needed, image_needs, images_at_once
from sharekit.errors import InputError, SharekitError
from sharekit.silence import loud

LAYOUT_CHANNELS = 4
"""RGB and one mask class, assumed while there are no images."""


@dataclass(frozen=True)
class Images:
    """What a ledger says about the images that wait for training."""

    waiting: int
    too_small: int
    largest: tuple[int, int, int]  # height, width, channels of the one that needs most
    needs: ImageNeeds  # needs of the largest image
    last_event: datetime | None
    last_release: datetime | None


@dataclass(frozen=True)
class Examination:
    """Every check, and what the largest image needs."""

    checks: tuple[Check, ...]
    needs: ImageNeeds

    @property
    def problems(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.outcome is Outcome.PROBLEM)

    def to_json(self) -> dict[str, Any]:
        return {
            "memory_per_image": self.needs.memory,
            "checks": [check.to_json() for check in self.checks],
            "problems": len(self.problems),
        }


def examine(root: Path | None, config: TrainingConfig) -> Examination:
    """Check the machine and, if `root` is given, the node there; leave no changes behind.

    Without a node the estimates are for the largest image that `config` trains on.
    """
    node_checks: list[Check] = []
    node = None
    if root is not None:
        node, node_checks = _open(root)
    images = _survey(node.ledger, config) if node else _no_images(config)
    torch = facts.torch_and_gpus()
    processors = facts.processors()
    height, width, _ = images.largest
    available = facts.available_memory()
    checks = [
        *_software(),
        machine.check_torch(torch),
        machine.check_processors(processors),
        machine.check_memory(images.needs, height, width, available, processors.workers, torch.gpus),
        *_surroundings(),
    ]
    if root is not None and node is not None:
        gpu_images = sum(images_at_once(gpu.free, images.needs) for gpu in torch.gpus)
        needed = disk_needed(images.waiting, max(processors.workers, gpu_images), images.needs)
        node_checks += _node_checks(root, images, needed)
    return Examination((*checks, *node_checks), images.needs)


def _software() -> list[Check]:
    wanted = facts.requirements()
    found = platform.python_version()
    return [
        machine.check_python(found, facts.python_range()),
        machine.check_packages(wanted, facts.versions(wanted)),
        machine.check_providers(*facts.onnx_providers()),
        machine.check_features(*facts.feature_file()),
    ]


def _surroundings() -> list[Check]:
    return [
        machine.check_contacts(loud()),
        machine.check_loopback(*facts.loopback()),
        _attempt(
            "ray folder", lambda: machine.check_ray_folder(*facts.ray_folder(), most=MAX_DIRECTORY_LENGTH)
        ),
        machine.check_shared_memory(*facts.shared_memory()),
    ]


def _attempt(name: str, check: Callable[[], Check]) -> Check:
    """The result of `check()`, or a problem that says why it could not run."""
    try:
        return check()
    except OSError as error:
        return problem(name, f"{type(error).__name__}: {error.strerror or error}", "see its folder's rights")
    except SharekitError as error:
        return problem(name, f"{error.found}, not {error.expected}", error.next_step)


def _open(root: Path) -> tuple[Node | None, list[Check]]:
    try:
        node = Node.open(root, read_only=True)
    except SharekitError as error:
        return None, [problem("node", f"{error.found}, not {error.expected}", error.next_step)]
    return node, [passed("node", f"{node.hospital}; images: {sum(node.ledger.counts().values())}")]


def _node_checks(root: Path, images: Images, disk: int) -> list[Check]:
    now = datetime.now(UTC)
    return [
        folder.check_images(images.waiting, images.too_small),
        folder.check_open(str(root), facts.not_private(root)),
        folder.check_file_system(facts.try_file_system(root)),
        folder.check_disk(facts.free_space(root), disk, images.waiting),
        folder.check_clock(now, images.last_event, images.last_release),
        _attempt(
            "training",
            lambda: folder.check_run(live.look(root / live.NAME), facts.recorded_ray_folder(root)),
        ),
    ]


def _survey(ledger: Ledger, config: TrainingConfig) -> Images:
    """Survey the images that wait, in one pass; each size is estimated once."""
    needs: dict[tuple[int, int, int], ImageNeeds | None] = {}
    waiting = too_small = 0
    for record in ledger.untrained():
        waiting += 1
        size = record.size
        if size not in needs:
            needs[size] = _needs(size, config)
        too_small += needs[size] is None
    fit = {size: found for size, found in needs.items() if found is not None}
    none = _no_images(config)
    largest = max(fit, key=lambda size: fit[size].memory, default=none.largest)
    needs_most = fit.get(largest, none.needs)
    last_event, last_release = ledger.last_event(), ledger.last_event(GeneratorState.RELEASED)
    return Images(waiting, too_small, largest, needs_most, _time(last_event), _time(last_release))


def _needs(size: tuple[int, int, int], config: TrainingConfig) -> ImageNeeds | None:
    try:
        return image_needs(*size, config)
    except InputError:
        return None


def _no_images(config: TrainingConfig) -> Images:
    largest = (config.max_side, config.max_side, LAYOUT_CHANNELS)
    return Images(0, 0, largest, image_needs(*largest, config), None, None)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
