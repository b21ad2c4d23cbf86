"""What a command and all that it starts contact and create, told by the kernel, which can refuse it to them.

A seccomp filter, which children inherit, reports the system calls that name a peer or create something. This
process notes them before they are carried out, and lets them go on or fail, as they would on a full disk. It
needs Linux, but neither `strace` nor special rights.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import ipaddress
import os
import platform
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SECCOMP, _PIDFD_GETFD = {"x86_64": 317, "aarch64": 277}.get(platform.machine(), 0), 438
_NO_NEW_PRIVILEGES, _SET_FILTER, _NEW_LISTENER = 38, 1, 8
_ALLOW, _NOTIFY, _CONTINUE = 0x7FFF0000, 0x7FC00000, 1
_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # ioctl
_NOTIFICATION, _ANSWER = struct.Struct("=QII iIQ6Q"), struct.Struct("=QqiI")
_AT_CWD = -100
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class _Call:
    """A system call: its number on each machine, and the positions of the arguments that matter."""

    x86_64: int | None
    aarch64: int | None
    address: int | None = None  # of a peer, with its length in the next argument
    message: int | None = None  # a `msghdr`, which begins with a peer's address
    path: int | None = None
    folder: int | None = None  # the descriptor that the path is relative to
    flags: int | None = None  # of `open`: reported only where they write
    descriptor: int | None = None  # of an open file; reported only where the call may be refused


_CALLS = {
    "connect": _Call(42, 203, address=1),
    "sendto": _Call(44, 206, address=4),
    "sendmsg": _Call(46, 211, message=1),
    "sendmmsg": _Call(307, 269, message=1),
    "open": _Call(2, None, path=0, flags=1),
    "openat": _Call(257, 56, path=1, folder=0, flags=2),
    "creat": _Call(85, None, path=0),
    "mkdir": _Call(83, None, path=0),
    "mkdirat": _Call(258, 34, path=1, folder=0),
    "rename": _Call(82, None, path=1),
    "renameat": _Call(264, 38, path=3, folder=2),
    "renameat2": _Call(316, 276, path=3, folder=2),
    "link": _Call(86, None, path=1),
    "linkat": _Call(265, 37, path=3, folder=2),
    "symlink": _Call(88, None, path=1),
    "symlinkat": _Call(266, 36, path=2, folder=1),
    "write": _Call(1, 64, descriptor=0),
    "writev": _Call(20, 66, descriptor=0),
    "pwrite64": _Call(18, 68, descriptor=0),
    "flock": _Call(73, 32, descriptor=0),
}
_WRITING = ("write", "writev", "pwrite64")
_CREATING = tuple(name for name, call in _CALLS.items() if call.path is not None)


@dataclass(frozen=True)
class Refusal:
    """System calls that fail for everything below a folder."""

    number: int  # errno
    calls: tuple[str, ...]
    under: Path


def full_disk(under: Path) -> Refusal:
    return Refusal(errno.ENOSPC, _WRITING, under)


def no_rights(under: Path) -> Refusal:
    return Refusal(errno.EACCES, _CREATING, under)


def read_only(under: Path) -> Refusal:
    return Refusal(errno.EROFS, _CREATING, under)


def no_locks(under: Path) -> Refusal:
    return Refusal(errno.ENOLCK, ("flock",), under)


@dataclass(frozen=True)
class Contact:
    """Somebody whom a process named as its peer."""

    process: str
    address: str
    port: int

    @property
    def on_this_machine(self) -> bool:
        found = ipaddress.ip_address(self.address)
        return (getattr(found, "ipv4_mapped", None) or found).is_loopback


@dataclass
class Observation:
    """What was seen of one command, with its output."""

    returncode: int = -1
    stdout: str = ""
    stderr: str = ""
    contacts: set[Contact] = field(default_factory=set)
    """Internet addresses; Unix sockets are not among them."""
    created: set[Path] = field(default_factory=set)
    """Whatever was opened for writing, made, or given a new name."""

    @property
    def strangers(self) -> list[Contact]:
        """Contacts beyond this machine."""
        return sorted((one for one in self.contacts if not one.on_this_machine), key=str)

    def outside(self, allowed: Iterable[Path]) -> list[Path]:
        """What was created in none of the folders of `allowed`."""
        roots = [Path(root).resolve() for root in allowed]
        return sorted(path for path in self.created if not any(path.is_relative_to(root) for root in roots))


def obstacle() -> str | None:
    """Why nothing can be observed here; None where it can."""
    if sys.platform != "linux" or platform.machine() not in _ARCHITECTURES:
        return "only Linux on x86-64 and ARM64 is known"
    try:
        run([sys.executable, "-c", "pass"])
    except (OSError, RuntimeError) as error:
        return f"the kernel reports no system calls: {error}"
    return None


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    refusals: Sequence[Refusal] = (),
    timeout: float = 300,
) -> Observation:
    """Run a command to its end; note what it contacts and creates, and refuse what must fail."""
    seen = Observation()
    refused = {name for refusal in refusals for name in refusal.calls}
    reported = [name for name, call in _CALLS.items() if call.descriptor is None or name in refused]
    ours, theirs = socket.socketpair()
    with subprocess.Popen(
        [sys.executable, "-I", __file__, str(theirs.fileno()), ",".join(reported), *map(str, command)],
        cwd=cwd,
        env=None if environment is None else dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=[theirs.fileno()],
        start_new_session=True,
    ) as process:
        theirs.close()
        with ours:
            number = ours.recv(16)
            if not number or ours.recv(16):
                raise RuntimeError(process.communicate()[1])
            listener = _descriptor_of(process.pid, int(number))
            ours.send(b"taken")
        ended = threading.Event()
        watcher = threading.Thread(target=_watch, args=(listener, seen, refusals, ended))
        watcher.start()
        try:
            seen.stdout, seen.stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            ended.set()
            watcher.join()
            os.close(listener)
        seen.returncode = process.returncode
    return seen


def _descriptor_of(pid: int, number: int) -> int:
    """A copy of another process's file descriptor."""
    descriptor = os.pidfd_open(pid)
    try:
        return _called(_LIBC.syscall(_PIDFD_GETFD, descriptor, number, 0))
    finally:
        os.close(descriptor)


def _called(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _watch(listener: int, seen: Observation, refusals: Sequence[Refusal], ended: threading.Event) -> None:
    names = {getattr(call, platform.machine()): name for name, call in _CALLS.items()}
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while not ended.is_set():
        events = poll.poll(50)
        if events and events[0][1] & select.POLLHUP:
            return
        if not events:
            continue
        request = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(listener, _RECEIVE, request)
            identifier, pid, _, number, _, _, *arguments = _NOTIFICATION.unpack(request)
            failure = 0
            # A process that has died meanwhile has nothing to look at.
            with contextlib.suppress(OSError, ValueError):
                failure = _judge(names[number], pid, arguments, seen, refusals)
            fcntl.ioctl(listener, _SEND, _ANSWER.pack(identifier, 0, -failure, 0 if failure else _CONTINUE))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EINTR):
                raise


def _judge(
    name: str, pid: int, arguments: Sequence[int], seen: Observation, refusals: Sequence[Refusal]
) -> int:
    """Note a call; the number of the error that it shall fail with, 0 for none."""
    call = _CALLS[name]
    if call.descriptor is not None:
        path = Path(f"/proc/{pid}/fd/{arguments[call.descriptor]}").readlink()
    else:
        path = _note(call, pid, arguments, seen)
    for refusal in refusals:
        if path is not None and name in refusal.calls and path.is_relative_to(refusal.under):
            return refusal.number
    return 0


def _note(call: _Call, pid: int, arguments: Sequence[int], seen: Observation) -> Path | None:
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:

        def read(address: int, length: int) -> bytes:
            memory.seek(address)
            return memory.read(length)

        if call.path is not None:
            folder = None if call.folder is None else ctypes.c_int(arguments[call.folder]).value
            path = _path(pid, folder, read, arguments[call.path])
            seen.created.add(path)
            return path
        if call.message is not None:
            address, length = struct.unpack("=QI", read(arguments[call.message], 12))
        else:
            address, length = arguments[call.address], arguments[call.address + 1]
        if address:
            _note_peer(pid, read(address, length), seen)
    return None


def _path(pid: int, folder: int | None, read: Callable[[int, int], bytes], address: int) -> Path:
    # A read must not run into the next page, which may not be there.
    data = b""
    while b"\0" not in data:
        data += read(address + len(data), 256 - (address + len(data)) % 256)
    path = os.fsdecode(data.partition(b"\0")[0])
    where = "cwd" if folder in (None, _AT_CWD) else f"fd/{folder}"
    return Path(os.path.normpath(Path(f"/proc/{pid}/{where}").readlink() / path))


def _note_peer(pid: int, peer: bytes, seen: Observation) -> None:
    family = struct.unpack_from("=H", peer)[0]
    if family == socket.AF_INET:
        address = socket.inet_ntop(family, peer[4:8])
    elif family == socket.AF_INET6:
        address = socket.inet_ntop(family, peer[8:24])
    else:
        return
    name = Path(f"/proc/{pid}/comm").read_text().strip()
    seen.contacts.add(Contact(name, address, struct.unpack_from("!H", peer, 2)[0]))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _filter(reported: Iterable[str]) -> Iterator[bytes]:
    """Instructions of the kernel's packet filter, over `struct seccomp_data`."""
    load, jump_if_equal, jump_if_any_bit, give = 0x20, 0x15, 0x45, 0x06

    def instruction(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("=HBBI", code, yes, no, value)

    yield instruction(load, 4)
    yield instruction(jump_if_equal, _ARCHITECTURES[platform.machine()], yes=1)
    yield instruction(give, _ALLOW)
    yield instruction(load, 0)
    for call in map(_CALLS.__getitem__, reported):
        number = getattr(call, platform.machine())
        if number is None:
            continue
        if call.flags is None:
            yield instruction(jump_if_equal, number, no=1)
        else:
            yield instruction(jump_if_equal, number, no=4)
            yield instruction(load, 16 + 8 * call.flags)
            yield instruction(jump_if_any_bit, _WRITES, yes=1)
            yield instruction(give, _ALLOW)
        yield instruction(give, _NOTIFY)
    yield instruction(give, _ALLOW)


def _become(command: Sequence[str], reported: Sequence[str], parent: int) -> None:
    """Install the filter, let the parent take the descriptor that reports, and become the command."""
    instructions = list(_filter(reported))
    program = _Program(len(instructions), b"".join(instructions))
    with socket.socket(fileno=parent) as pipe:
        # The filter holds up what is said after it; the descriptor will have the lowest free number.
        free = os.dup(parent)
        os.close(free)
        pipe.send(str(free).encode())
        _called(_LIBC.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
        _called(_LIBC.syscall(_SECCOMP, _SET_FILTER, _NEW_LISTENER, ctypes.byref(program)))
        pipe.shutdown(socket.SHUT_WR)
        os.read(parent, 16)
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    _become(sys.argv[3:], sys.argv[2].split(","), int(sys.argv[1]))
