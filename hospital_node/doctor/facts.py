"""Facts for the checks, read from the machine and from a node's folder; nothing is decided here."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import os
import re
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from packaging.requirements import Requirement

from hospital_node.doctor.machine import Gpu, Processors, Torch
from hospital_node.doctor.node_folder import FileSystem
from sharekit.bundle import features
from sharekit.errors import SharekitError
from sharekit.program.processors import cpu_quota, usable_processors
from sharekit.storage import files

_DISTRIBUTION = "sharekit"
_EXTRA = "hospital"
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - measured, never written


def python_range() -> str:
    """The Python versions that the installed package asks for; empty when it is not installed."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.metadata(_DISTRIBUTION)["Requires-Python"] or ""
    return ""


def requirements() -> list[Requirement]:
    """What a hospital's installation asks for on this machine; empty when the package is not installed."""
    try:
        texts = importlib.metadata.requires(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    wanted = map(Requirement, texts)
    return [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": _EXTRA})]


def versions(wanted: list[Requirement]) -> dict[str, str]:
    """The version of each wanted package that is installed."""
    found = {}
    for requirement in wanted:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[requirement.name] = importlib.metadata.version(requirement.name)
    return found


def torch_and_gpus() -> Torch:
    """What torch reports; asking every GPU for its memory loads CUDA into this process."""
    import torch

    gpus = []
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        total = torch.cuda.get_device_properties(number).total_memory
        free = 0
        # A GPU that admits no process, or is full to the last byte, has no free memory.
        with contextlib.suppress(RuntimeError):
            free = torch.cuda.mem_get_info(number)[0]
        gpus.append(Gpu(torch.cuda.get_device_name(number), total, free))
    return Torch(torch.__version__, torch.version.cuda, tuple(gpus), nvidia_driver())


def nvidia_driver() -> str | None:
    """Version of the kernel's NVIDIA driver; None if there is no driver."""
    with contextlib.suppress(OSError):
        version = re.search(r"\b\d{3,}\.\d+(\.\d+)?\b", _NVIDIA_DRIVER.read_text())
        return version.group() if version else "of unknown version"
    return None


def processors() -> Processors:
    return Processors(os.cpu_count() or 1, usable_processors(), cpu_quota())


def available_memory() -> int:
    """Bytes that a new process could have without swapping."""
    return psutil.virtual_memory().available


def loopback() -> tuple[list[str], str]:
    """What `localhost` resolves to, and why a socket on loopback could not be opened, if so."""
    try:
        with socket.create_server(("127.0.0.1", 0)):
            pass
    except OSError as error:
        return [], f"no socket on 127.0.0.1: {error.strerror or error}"
    try:
        return sorted({str(info[4][0]) for info in socket.getaddrinfo("localhost", None)}), ""
    except socket.gaierror:
        return [], ""


def ray_folder() -> tuple[str, int]:
    """Path and mode of a temporary folder, made the way Ray's private folder is."""
    from hospital_node.isolation.closed_ray import private_directory

    directory = private_directory()
    try:
        return str(directory), stat.S_IMODE(directory.stat().st_mode)
    finally:
        directory.rmdir()


def shared_memory() -> tuple[int | None, int | None]:
    """Size and free bytes of /dev/shm; None if it does not exist."""
    if not _SHARED_MEMORY.is_dir():
        return None, None
    usage = shutil.disk_usage(_SHARED_MEMORY)
    return usage.total, usage.free


def onnx_providers() -> tuple[list[str], str]:
    """ONNX Runtime's providers, and why it could not be loaded, if so."""
    try:
        from sharekit.program.onnx_runtime import onnxruntime

        return onnxruntime.get_available_providers(), ""
    except Exception as error:  # a broken wheel may raise anything
        return [], f"{type(error).__name__}: {error}"


def feature_file() -> tuple[str | None, bool]:
    """Path of the pretrained features, and whether that file exists."""
    path = features.find()
    return (None, False) if path is None else (str(path), path.is_file())


def not_private(root: Path) -> list[str]:
    """Paths at and below `root` that others may read or somebody else owns; links are not followed."""
    wrong = []
    for path in _walk(root):
        # A run in progress may remove files meanwhile.
        with contextlib.suppress(FileNotFoundError):
            found = path.lstat()
            is_open = found.st_mode & 0o077 and not stat.S_ISLNK(found.st_mode)
            if is_open or found.st_uid != os.getuid():
                wrong.append(path.relative_to(root).as_posix())
    return wrong


def _walk(root: Path) -> Iterator[Path]:
    yield root
    for folder, folders, names in os.walk(root):
        yield from (Path(folder) / name for name in (*folders, *names))


def try_file_system(root: Path) -> FileSystem:
    """Write, lock and remove a file in a folder of its own inside `root`."""
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=root) as folder:
            path = Path(folder) / "trial"
            started = time.monotonic()
            files.write_bytes(path, b"trial", mode=0o600)
            seconds = time.monotonic() - started
            return FileSystem(mode=stat.S_IMODE(path.stat().st_mode), locks=_locks(path), seconds=seconds)
    except OSError as error:
        return FileSystem(error=f"cannot be written: {error.strerror or error}")


def _locks(path: Path) -> bool:
    with path.open("rb") as first, path.open("rb") as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def recorded_ray_folder(root: Path) -> str | None:
    """The folder that `ray.json` names; None if that file is missing."""
    path = root / "ray.json"
    if not path.is_file():
        return None
    try:
        return str(
            files.parse_json(files.read_bytes(path, max_bytes=files.MAX_JSON_BYTES), path)["directory"]
        )
    except (SharekitError, KeyError, TypeError):
        return "that cannot be read"


def free_space(root: Path) -> int:
    """Bytes that this user may still write where `root` lies."""
    return shutil.disk_usage(root).free
