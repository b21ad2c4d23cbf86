"""What a process that was taken over tries from inside, and which layer stops it: the table of ADR 0031."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sharekit.program.confinement import ALL, ESSENTIAL, Layer, system_call_filter
from sharekit.program.interruption import termination_interrupts

RETURN = 0x06  # of classic BPF

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layers are Linux's")

VICTIM = """
import ctypes, sys
secret = ctypes.create_string_buffer(b"secret of another process")
print(ctypes.addressof(secret), flush=True)
sys.stdin.read()
"""

ATTACKS = """
import ctypes, encodings.idna, os, socket, struct, sys, threading
from sharekit.program.confinement import Layer, confine

layers, folder, port, victim, address = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
libc = ctypes.CDLL(None, use_errno=True)
stolen = ctypes.create_string_buffer(64)
local = struct.pack("@NN", ctypes.addressof(stolen), 25)
remote = struct.pack("@NN", address, 25)

def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")

def fork():
    if os.fork() == 0:
        os._exit(0)

def connect():
    with socket.socket() as client:
        client.connect(("127.0.0.1", port))

def connect_locally():
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"\\0sharekit-{port}")

def read_memory():
    with open(f"/proc/{victim}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        memory.read(25)

PTRACE_SEIZE = 0x4206
attacks = {
    "read a file": lambda: open(f"{folder}/read").close(),
    "write a file": lambda: open(f"{folder}/new", "w").close(),
    "list a folder": lambda: os.listdir(folder),
    "make a folder": lambda: os.mkdir(f"{folder}/made"),
    "unlink": lambda: os.unlink(f"{folder}/unlink"),
    "rename": lambda: os.rename(f"{folder}/rename", f"{folder}/renamed"),
    "chmod": lambda: os.chmod(f"{folder}/read", 0o777),
    "connect": connect,
    "connect to an abstract socket": connect_locally,
    "signal another process": lambda: os.kill(victim, 0),
    "ptrace": lambda: checked(libc.ptrace(PTRACE_SEIZE, victim, 0, 0)),
    "process_vm_readv": lambda: checked(libc.process_vm_readv(victim, local, 1, remote, 1, 0)),
    "read /proc/PID/mem": read_memory,
    "fork": fork,
    "leave the session": lambda: os.setsid() if os.getsid(0) != os.getpid() else None,
}
active = confine(4096, 60, Layer(int(layers)))
lines = [f"active {int(active)}"]
for name, action in attacks.items():
    try:
        action()
        lines.append(f"done {name}")
    except OSError:
        lines.append(f"refused {name}")
counted = threading.Thread(target=lambda: lines.append("done a thread"))
counted.start()
counted.join()
os.write(1, "\\n".join(lines + [""]).encode())
try:
    os.execv("/bin/echo", ["echo", "done exec"])
except OSError:
    os.write(1, b"refused exec")
"""

FILES = {"read a file", "write a file", "list a folder", "make a folder", "unlink", "rename", "exec"}
MEMORY = {"ptrace", "process_vm_readv", "read /proc/PID/mem"}
EVERY = {
    *FILES,
    *MEMORY,
    *("chmod", "connect", "connect to an abstract socket", "signal another process"),
    *("fork", "leave the session"),
}
STOPPED = {
    Layer.LIMITS: {"read a file", "write a file", "list a folder", "connect"}
    | {"connect to an abstract socket", "read /proc/PID/mem", "exec"},
    Layer.NAMESPACES: {*FILES, *MEMORY, "chmod", "connect", "connect to an abstract socket"},
    Layer.LANDLOCK: {*FILES, *MEMORY, "connect", "connect to an abstract socket", "signal another process"},
    Layer.SYSTEM_CALLS: EVERY,
    ESSENTIAL: EVERY,
    ALL: EVERY,
}
"""What each layer stops alone, and what they stop together."""


@pytest.fixture
def victim() -> Iterator[tuple[int, int]]:
    """Another process of this user: its number, and the address of its secret."""
    with subprocess.Popen(
        [sys.executable, "-c", VICTIM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
        process.kill()


def attack(layers: Layer, folder: Path, victim: tuple[int, int]) -> tuple[Layer, set[str], set[str]]:
    """What a process under `layers` tries: which layers were active, what it did, what was refused."""
    for name in ("read", "unlink", "rename"):
        (folder / name).write_text("of the node")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        port = server.getsockname()[1]
        local.bind(f"\0sharekit-{port}")
        local.listen()
        words = [str(int(layers)), str(folder), str(port), *map(str, victim)]
        ended = subprocess.run(
            [sys.executable, "-c", ATTACKS, *words], capture_output=True, text=True, timeout=60, check=False
        )
    given = [line.split(" ", 1) for line in ended.stdout.splitlines()]
    assert given, ended.stderr
    active = Layer(int(next(value for kind, value in given if kind == "active")))
    done, refused = ({value for kind, value in given if kind == wanted} for wanted in ("done", "refused"))
    assert "a thread" in done
    if "exec" not in done:  # the new program may have been refused its libraries
        refused.add("exec")
    return active, done - {"a thread"}, refused


def test_without_any_layer_every_attack_succeeds(tmp_path: Path, victim: tuple[int, int]) -> None:
    """The control: an attack that fails anyhow would show nothing."""
    active, done, refused = attack(Layer(0), tmp_path, victim)
    assert active == 0
    assert (done, refused) == (EVERY, set())
    assert not (tmp_path / "unlink").exists()
    assert (tmp_path / "renamed").exists()


@pytest.mark.parametrize("layers", STOPPED, ids=lambda layers: " + ".join(layers.labels))
def test_the_layers_stop_what_the_decision_record_says(
    layers: Layer, tmp_path: Path, victim: tuple[int, int]
) -> None:
    active, done, refused = attack(layers, tmp_path, victim)
    if missing := layers & ~active:
        pytest.skip(f"this machine does not allow {', '.join(missing.labels)}")
    assert refused == STOPPED[layers]
    assert done == EVERY - STOPPED[layers]
    if {"unlink", "rename", "write a file"} <= STOPPED[layers]:
        assert {path.name for path in tmp_path.iterdir()} == {"read", "unlink", "rename"}


def test_the_essential_layers_are_active_here() -> None:
    """Otherwise this machine could evaluate nothing, and the tests above would all be skipped."""
    script = "from sharekit.program.confinement import confine; print(int(confine(4096, 60)), flush=True)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ESSENTIAL in Layer(int(ended.stdout))


PRIVATE = """
import ctypes, os, sys
from sharekit.program.confinement import memory_kept_private

if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
# Whoever changes its user is private already.
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)

def parent_can_be_read():
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    try:
        open(f"/proc/{os.getppid()}/mem", "rb").close()
    except OSError:
        os._exit(1)
    os._exit(0)

given = [parent_can_be_read()]
with memory_kept_private():
    given.append(parent_can_be_read())
given.append(parent_can_be_read())
print(*given)
"""


def test_the_memory_of_the_parent_is_private_for_the_block() -> None:
    """Another layer where none of the child's is there: the parent itself lets nobody of its user in."""
    ended = subprocess.run([sys.executable, "-c", PRIVATE], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["True", "False", "True"]


def test_no_thread_starts_once_that_is_forbidden() -> None:
    """For an ordinary user: root has no limit of processes."""
    script = (
        "import os, threading\n"
        "from sharekit.program.confinement import forbid_threads\n"
        "if os.getuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "forbid_threads()\n"
        "try: threading.Thread(target=print).start()\n"
        "except RuntimeError: print('refused')\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "refused"


def test_a_machine_without_a_known_filter_says_so() -> None:
    with pytest.raises(OSError, match="no filter for riscv64"):
        system_call_filter("riscv64", 1)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_jump_of_the_filter_ends_inside_it(machine: str) -> None:
    program = system_call_filter(machine, os.getpid())
    assert len(program) % 8 == 0
    count = len(program) // 8
    for number in range(count):
        code, yes, no = program[8 * number], program[8 * number + 2], program[8 * number + 3]
        assert number + 1 + max(yes, no) < count or code == RETURN


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_termination_is_an_interruption_for_the_block_alone(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), termination_interrupts():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before
