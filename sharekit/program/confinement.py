"""A process permanently gives up what it does not need: files, network, other processes, privileges.

Linux offers several independent layers. `confine` tries each, skips those that the kernel or the container
does not allow, and returns the active ones. Nothing here needs root. `tests/sharekit/test_confinement.py`
tests, from inside a confined process, which attack each layer stops on its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import platform
import struct
import time
from collections.abc import Callable, Iterator
from enum import IntFlag
from pathlib import Path

with contextlib.suppress(ModuleNotFoundError):
    # Import it before files are forbidden; Windows has none.
    import resource


class Layer(IntFlag):
    """One thing that confines a process."""

    LIMITS = 1
    """Limits memory and processor time; forbids new files and sockets, writing to files, and core dumps."""
    PRIVILEGES = 2
    """Drops all capabilities and ways to gain them; the user's other processes cannot trace this one."""
    NAMESPACES = 4
    """Enters its own user, network and message-queue namespaces, and an empty root folder."""
    LANDLOCK = 8
    """Makes the kernel refuse files, TCP ports, abstract sockets and signals to processes outside."""
    SYSTEM_CALLS = 16
    """Refuses all system calls except those for arithmetic, memory, threads and open pipes."""

    @property
    def labels(self) -> list[str]:
        """Names of the layers in this set, in order."""
        return [layer.name.lower().replace("_", " ") for layer in Layer if layer in self and layer.name]


ALL = Layer(sum(Layer))
ESSENTIAL = Layer.LIMITS | Layer.PRIVILEGES | Layer.SYSTEM_CALLS
"""Without these, a compromised process could fork, remove files or reach other processes."""


def confine(memory_mib: int, cpu_seconds: int, layers: Layer = ALL) -> Layer:
    """Confine this process and all its threads, and return the active layers.

    Call it after the last import and before reading untrusted data. With more than one thread, namespaces and
    Landlock are skipped, because they would apply only to the calling thread.

    Args:
        memory_mib: limit of the address space, MiB.
        cpu_seconds: limit of the processor time, over all threads.
        layers: the layers to try.
    """
    steps: dict[Layer, Callable[[], None]] = {
        # Namespaces and Landlock come first: later steps forbid the system calls and files that they need.
        Layer.NAMESPACES: _enter_namespaces,
        Layer.LANDLOCK: _forbid_files,
        Layer.PRIVILEGES: _drop_privileges,
        Layer.LIMITS: lambda: _limit_resources(memory_mib, cpu_seconds),
        Layer.SYSTEM_CALLS: _filter_system_calls,
    }
    if not _has_one_thread():
        layers &= ~(Layer.NAMESPACES | Layer.LANDLOCK)
    active = Layer(0)
    for layer, step in steps.items():
        if layer in layers:
            with contextlib.suppress(OSError, ValueError):
                step()
                active |= layer
    return active


def grant_processor_time(seconds: int) -> None:
    """Give this process `seconds` of processor time from now on, within the limit that `confine` set."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    end = math.ceil(time.process_time()) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (end if hard == resource.RLIM_INFINITY else min(end, hard), hard))


def _has_one_thread() -> bool:
    with contextlib.suppress(OSError):
        return len(list(Path("/proc/self/task").iterdir())) == 1
    return False


def forbid_threads() -> None:
    """Forbid new threads and processes from now on. It has no effect for root, who has no such limit."""
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


@contextlib.contextmanager
def memory_kept_private() -> Iterator[None]:
    """Inside the block, the user's other processes cannot trace this one or read its memory.

    Root still can. On systems other than Linux nothing changes.
    """
    before = _prctl_or_none(_PR_GET_DUMPABLE)
    _prctl_or_none(_PR_SET_DUMPABLE, 0)
    try:
        yield
    finally:
        if before == 1:
            _prctl_or_none(_PR_SET_DUMPABLE, 1)


# -- limits


def _limit_resources(memory_mib: int, cpu_seconds: int) -> None:
    for kind, value in (
        (resource.RLIMIT_AS, memory_mib * 2**20),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(kind, (value, value))


# -- privileges (prctl(2), capset(2))

_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522


def _drop_privileges() -> None:
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)
    header = struct.pack("<Ii", _CAPABILITY_VERSION_3, 0)
    _system_call("capset", header, bytes(24))


# -- namespaces (unshare(2))

_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_NEWIPC = 0x10000000, 0x40000000, 0x08000000
_NO_FOLDER = "/proc/self/fdinfo"
"""A folder in which nothing can be created, and from which no other file can be reached."""


def _enter_namespaces() -> None:
    _system_call("unshare", _CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC)
    os.chroot(_NO_FOLDER)
    os.chdir("/")


# -- Landlock (landlock(7))

_NO_NET, _NO_SCOPE = 4, 6  # first versions of Landlock that know network and scopes
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""Landlock version to the number of file rights that it handles; 16 from version 5 on."""


def _forbid_files() -> None:
    """Apply a Landlock rule set that handles every right and grants none."""
    version = _system_call("landlock_create_ruleset", None, 0, 1)
    files = 2 ** _FILE_RIGHTS.get(version, 16) - 1
    attributes = struct.pack("<Q", files)
    if version >= _NO_NET:
        attributes += struct.pack("<Q", 0b11)  # bind and connect, TCP
    if version >= _NO_SCOPE:
        attributes += struct.pack("<Q", 0b11)  # abstract sockets and signals
    ruleset = _system_call("landlock_create_ruleset", attributes, len(attributes), 0)
    try:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        _system_call("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)


# -- system calls (seccomp(2))

_NUMBERS = {
    # name: (x86_64, aarch64)
    "brk": (12, 214),
    "capset": (126, 91),
    "clock_getres": (229, 114),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "clone": (56, 220),
    "clone3": (435, 435),
    "close": (3, 57),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "fstat": (5, 80),
    "futex": (202, 98),
    "getcpu": (309, 168),
    "getpid": (39, 172),
    "getrandom": (318, 278),
    "getrusage": (98, 165),
    "gettid": (186, 178),
    "gettimeofday": (96, 169),
    "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446),
    "lseek": (8, 62),
    "madvise": (28, 233),
    "membarrier": (324, 283),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "munmap": (11, 215),
    "nanosleep": (35, 101),
    "ppoll": (271, 73),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "read": (0, 63),
    "readv": (19, 65),
    "restart_syscall": (219, 128),
    "rseq": (334, 293),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_getaffinity": (204, 123),
    "sched_yield": (24, 124),
    "seccomp": (317, 277),
    "set_robust_list": (273, 99),
    "set_tid_address": (218, 96),
    "sigaltstack": (131, 132),
    "sysinfo": (99, 179),
    "tgkill": (234, 131),
    "uname": (63, 160),
    "unshare": (272, 97),
    "write": (1, 64),
    "writev": (20, 66),
}
_ALWAYS = (
    *("brk", "close", "fstat", "lseek", "madvise", "membarrier", "mmap", "mprotect", "mremap", "munmap"),
    *("clock_getres", "clock_gettime", "clock_nanosleep", "gettimeofday", "nanosleep", "restart_syscall"),
    *("exit", "exit_group", "futex", "getcpu", "getpid", "gettid", "rseq", "sched_getaffinity"),
    *("sched_yield", "set_robust_list", "set_tid_address", "sysinfo", "uname", "getrandom", "getrusage"),
    *("ppoll", "read", "readv", "write", "writev"),
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack"),
)
"""Calls allowed with any argument; the only usable descriptors are the pipes that are already open."""
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Machine to its column in `_NUMBERS` and the kernel's number for it."""

_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06  # instructions of classic BPF
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16  # of struct seccomp_data
_CLONE_THREAD = 0x00010000
_PR_SET_NAME = 15
_SECCOMP_SET_MODE_FILTER, _ALL_THREADS = 1, 1


def system_call_filter(machine: str, pid: int) -> bytes:
    """Build the filter as a classic BPF program, 8 bytes per instruction.

    A forbidden call fails with EPERM, so that a library can go on without it.

    Args:
        machine: value of `platform.machine`.
        pid: ID of the process, which may signal its own threads.

    Raises:
        OSError: no filter is known for this machine.
    """
    if machine not in _ARCHITECTURES:
        raise OSError(f"no filter for {machine}")
    column, architecture = _ARCHITECTURES[machine]
    program = [
        _instruction(_LOAD, _ARCHITECTURE_AT),
        _instruction(_EQUAL, architecture, yes=1),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER_AT),
    ]
    for name in _ALWAYS:
        program += [_instruction(_EQUAL, _NUMBERS[name][column], no=1), _instruction(_RETURN, _ALLOW)]
    for name, test, value in (
        ("clone", _ANY_BIT, _CLONE_THREAD),  # threads, but not processes
        ("tgkill", _EQUAL, pid),
        ("prlimit64", _EQUAL, 0),  # its own limits
        ("prctl", _EQUAL, _PR_SET_NAME),
    ):
        program += [
            _instruction(_EQUAL, _NUMBERS[name][column], no=4),
            _instruction(_LOAD, _FIRST_ARGUMENT_AT),
            _instruction(test, value, no=1),
            _instruction(_RETURN, _ALLOW),
            _instruction(_RETURN, _ERROR | _EPERM),
        ]
    program += [
        # The C library then makes threads with clone, whose flags the filter can check.
        _instruction(_EQUAL, _NUMBERS["clone3"][column], no=1),
        _instruction(_RETURN, _ERROR | _ENOSYS),
        _instruction(_RETURN, _ERROR | _EPERM),
    ]
    return b"".join(program)


def _instruction(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    """Encode one instruction; `yes` and `no` are the numbers of instructions to skip after a test."""
    return struct.pack("<HBBI", code, yes, no, value)


def _filter_system_calls() -> None:
    program = system_call_filter(platform.machine(), os.getpid())
    buffer = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if _system_call("seccomp", _SECCOMP_SET_MODE_FILTER, _ALL_THREADS, described):
        raise OSError("a thread that does not take the filter")


# -- the kernel


def _system_call(name: str, *arguments: int | bytes | None) -> int:
    """Call the kernel.

    Raises:
        OSError: the kernel refuses the call, or this is not Linux on a known machine.
    """
    machine = platform.machine()
    if platform.system() != "Linux" or machine not in _ARCHITECTURES:
        raise OSError(f"no system call {name} known here")
    number = _NUMBERS[name][_ARCHITECTURES[machine][0]]
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return _checked(_library().syscall(ctypes.c_long(number), *words))


def _prctl(option: int, value: int = 0) -> int:
    if platform.system() != "Linux":
        raise OSError("no prctl here")
    return _checked(_library().prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0))))


def _prctl_or_none(option: int, value: int = 0) -> int | None:
    with contextlib.suppress(OSError):
        return _prctl(option, value)
    return None


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
