"""Full disks, missing rights, no locks, little memory, old terminals: commands say the path and the remedy.

The kernel itself refuses: see `observed`. Nothing here ends as a fault of the program.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from hospital_node.candidate.build import build_onnx
from hospital_node.cli import main as hospital_node
from hospital_node.ledger.ledger import Ledger
from sharekit.errors import InputError, NodeStateError
from sharekit.signing.keys import generate
from tests import observed
from tests.hospital_node.trained_node import trained_node
from tests.observed import Observation, Refusal
from tests.repository_world import World
from tests.sharekit.bundles import small_bundle
from tests.tiny import tiny_generator

BIN = Path(sys.executable).parent
OBSTACLE = observed.obstacle()
needs_a_kernel = pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE))


@dataclass(frozen=True)
class Place:
    """A folder with what every command needs, and `there`, where it writes."""

    root: Path

    @property
    def there(self) -> Path:
        return self.root / "there"

    @property
    def node(self) -> Path:
        return self.there / "node"

    @property
    def ledger(self) -> Path:
        return self.node / "ledger.sqlite"

    @property
    def log(self) -> Path:
        """SQLite's write-ahead log, which the last one to close the ledger removes."""
        return self.node / "ledger.sqlite-wal"

    def run(self, line: str, *refusals: Refusal, **variables: str) -> Observation:
        program, *arguments = line.format(there=self.there, root=self.root, node=self.node).split()
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **variables}
        return observed.run(
            [BIN / program, *arguments], cwd=self.root, environment=environment, refusals=refusals
        )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audited and approved node, keys, a bundle and a data set of its samples."""
    root = tmp_path_factory.mktemp("made")
    trained_node(root / "node").ledger.close()
    key = generate()
    key.save(root / "key.key")
    key.public.save(root / "key.pub")
    node = ("--node", str(root / "node"))
    approver = ("--approver", str(root / "key.pub"), "--name", "Officer")
    assert hospital_node(["policy", *node, *approver, "--set", "k=2", "release_linkable=true"]) == 0
    assert hospital_node(["audit", *node, "--samples", "16"]) == 0
    approve = ["approve", *node, "--key", str(root / "key.key"), "--by", "Officer", "--all", "--yes"]
    assert hospital_node(approve) == 0
    generators = [tiny_generator(seed, sizes=((9, 11), (14, 17))) for seed in (0, 1)]
    small_bundle(root / "bundle", key, generators={each.spec: build_onnx(each) for each in generators})
    for folder in ("images", "masks"):
        (root / "data" / folder).mkdir(parents=True)
        (root / "data" / folder / "Müller…→.png").write_bytes(b"no picture")
    return root


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Place:
    there = tmp_path / "there"
    there.mkdir()
    shutil.copytree(made / "node", there / "node")
    for name in ("key.key", "key.pub"):
        shutil.copy(made / name, tmp_path)
    shutil.copytree(made / "bundle", tmp_path / "bundle")
    shutil.copytree(made / "data", tmp_path / "data")
    return Place(tmp_path)


WRITERS = {
    "keys": "sharekit keys new --out {there}/new --no-password",
    "demo": "sharekit demo --out {there}/demo",
    "policy": "hospital-node policy --node {node} --set k=3",
    "audit": "hospital-node audit --node {node} --again --samples 16",
    "approve": "hospital-node approve --node {node} --key {root}/key.key --by Officer --all --yes",
    "export": "hospital-node export --node {node} --key {root}/key.key --out {there}/out",
    "report": "hospital-node report --node {node}",
    "submitter": "hospital-node submitter add --node {node} --key {root}/key.pub --name Laboratory",
    "sample": "consumer sample {root}/bundle --key {root}/key.pub --count 2 --seed 1 --out {there}/samples",
}
READERS = {
    "fingerprint": "sharekit keys fingerprint {root}/key.pub",
    "verify": "sharekit verify {root}/bundle --key {root}/key.pub",
    "inspect": "sharekit inspect {root}/bundle",
    "status": "hospital-node status --node {node}",
    "history": "hospital-node history --node {node}",
    "releases": "hospital-node releases --node {node}",
}
READERS_OF_A_NODE = [name for name, line in READERS.items() if "{node}" in line]


def _check(seen: Observation, place: Path, *kinds: type) -> None:
    assert seen.returncode in {kind.exit_code for kind in kinds}, seen.stderr
    assert str(place) in seen.stderr.partition("error: ")[2].splitlines()[0], seen.stderr
    assert "fault in the program" not in seen.stderr
    assert "Traceback" not in seen.stderr


@needs_a_kernel
@pytest.mark.parametrize("command", WRITERS)
def test_a_full_disk_is_told_with_its_place(place: Place, command: str) -> None:
    seen = place.run(WRITERS[command], observed.full_disk(place.there))
    _check(seen, place.there, InputError, NodeStateError)


@needs_a_kernel
@pytest.mark.parametrize(
    ("command", "refuse"),
    [
        ("keys", observed.no_rights),
        ("sample", observed.no_rights),
        ("demo", observed.read_only),
        ("policy", observed.read_only),
        ("export", observed.read_only),
    ],
)
def test_a_folder_that_cannot_be_written_is_told_with_its_place(
    place: Place, command: str, refuse: Callable[[Path], Refusal]
) -> None:
    _check(place.run(WRITERS[command], refuse(place.there)), place.there, InputError, NodeStateError)


@needs_a_kernel
@pytest.mark.parametrize("command", READERS)
def test_what_only_reads_needs_no_place_to_write(place: Place, command: str) -> None:
    with contextlib.closing(Ledger(place.ledger)):
        pass
    assert not place.log.exists()
    for refuse in (observed.read_only, observed.no_rights):
        seen = place.run(READERS[command], refuse(place.root))
        assert seen.returncode == 0, seen.stderr


@needs_a_kernel
@pytest.mark.parametrize("command", READERS_OF_A_NODE)
def test_a_node_in_use_is_read_without_a_place_to_write(place: Place, command: str) -> None:
    with contextlib.closing(Ledger(place.ledger)) as ledger:
        ledger.counts()
        assert place.log.exists()
        seen = place.run(READERS[command], observed.read_only(place.root))
    assert seen.returncode == 0, seen.stderr


@needs_a_kernel
def test_changes_that_only_a_log_holds_are_not_left_out(place: Place) -> None:
    """A copy made while a command wrote: the log needs an index, which has no place here."""
    kept = place.root / "kept"
    with contextlib.closing(Ledger(place.ledger)) as ledger:
        image = next(ledger.iterate())
        ledger.set_unit(image.id, "another")
        shutil.copytree(place.there, kept)
    (kept / "node" / "ledger.sqlite-shm").unlink()
    seen = place.run(f"hospital-node status --node {kept}/node", observed.read_only(place.root))
    _check(seen, kept, NodeStateError)
    assert "a place that can be written" in seen.stderr
    assert place.run(f"hospital-node status --node {kept}/node").returncode == 0


@needs_a_kernel
@pytest.mark.parametrize("command", ["audit", "submitter"])
def test_a_file_system_without_locks_is_told_as_the_doctor_does(place: Place, command: str) -> None:
    seen = place.run(WRITERS[command], observed.no_locks(place.root))
    _check(seen, place.node, NodeStateError)
    assert "flock" in seen.stderr


def _plain(line: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    program, *arguments = line.split()
    environment = {**os.environ, **variables}
    return subprocess.run([BIN / program, *arguments], env=environment, capture_output=True, check=False)


@pytest.mark.parametrize("encoding", ["latin-1", "cp437", "cp1252", "ascii"])
def test_a_terminal_that_lacks_characters_shows_others_instead(place: Place, encoding: str) -> None:
    """A hospital's name is printed, and a doctor's arrow."""
    line = f"sharekit inspect {place.root}/bundle"
    shown = _plain(line, PYTHONIOENCODING=encoding)
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert b"Test hospital" in shown.stdout
    document = _plain(f"{line} --format json", PYTHONIOENCODING=encoding)
    assert json.loads(document.stdout.decode(encoding)) == json.loads(_plain(f"{line} --format json").stdout)


def test_refused_names_are_printed_on_a_terminal_of_latin_1(place: Place) -> None:
    line = f"hospital-node ingest --node {place.node} --data {place.root}/data"
    shown = _plain(line, PYTHONIOENCODING="latin-1")
    assert (shown.returncode, _plain(line).returncode) == (InputError.exit_code, InputError.exit_code)
    assert b"images/M\xfcller??.png" in shown.stdout
    assert b"fault in the program" not in shown.stderr


def test_a_result_that_finds_no_room_is_told(place: Place) -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [BIN / "sharekit", "keys", "fingerprint", place.root / "key.pub"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == InputError.exit_code
    assert "error: standard output" in ended.stderr


WITHOUT_MEMORY = """
import resource, sys
from pathlib import Path
import consumer.cli
from consumer.sampling import synthetic_bundle

now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 2**20, now + 2**20))
sys.exit(consumer.cli.main(sys.argv[1:]))
"""


def test_too_little_memory_is_no_broken_bundle(place: Place) -> None:
    root = place.root
    line = f"sample {root}/bundle --key {root}/key.pub --count 2 --seed 1 --out {root}/x --provider cpu"
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_MEMORY, *line.split()], capture_output=True, text=True, check=False
    )
    assert ended.returncode == NodeStateError.exit_code, ended.stderr
    assert "expected enough memory" in ended.stderr


@needs_a_kernel
def test_a_full_disk_during_a_pull_keeps_what_has_arrived_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("SHAREKIT_HOME", str(home))
    world = World.make(tmp_path, "alpha")
    line = [
        BIN / "consumer",
        "pull",
        str(world.folder),
        "--hospital",
        "alpha",
        "--root",
        world.root_fingerprint,
    ]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    bundles = home / "bundles"
    full = observed.full_disk(bundles)
    seen = observed.run(line, cwd=tmp_path, environment=environment, refusals=(full,))
    assert seen.returncode == InputError.exit_code, seen.stderr
    assert str(bundles) in seen.stderr
    assert "No space left" in seen.stderr
    again = observed.run(line, cwd=tmp_path, environment=environment)
    assert again.returncode == 0, again.stderr
