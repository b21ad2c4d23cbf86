"""What leaves the node, and what a consumer makes, gets the permissions of the user's umask."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sharekit.signing import keys
from tests.sharekit.bundles import small_bundle

UMASK = 0o027


def run(program: str, *arguments: object, umask: int = UMASK) -> None:
    """A program in a process of its own: pytest's umask stays as it is."""
    code = f"import sys; from {program}.cli import main; sys.exit(main())"
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True, umask=umask, timeout=120)


def modes(root: Path) -> set[str]:
    return {f"{path.stat().st_mode & 0o777:o}" for path in (root, *root.rglob("*"))}


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    key = keys.generate()
    key.public.save(tmp_path / "hospital.pub")
    small_bundle(tmp_path / "bundle", key)
    return tmp_path


def test_samples_are_made_with_the_user_s_umask(signed: Path) -> None:
    options = ("--key", signed / "hospital.pub", "--samples", 2, "--seed", 1, "--device", "cpu")
    run("consumer", "sample", signed / "bundle", *options, "--out", signed / "set")
    assert modes(signed / "set") == {"750", "640"}


def test_a_private_key_stays_private_whatever_the_umask(tmp_path: Path) -> None:
    run("sharekit", "keys", "new", "--no-password", "--out", tmp_path / "keys" / "mine", umask=0)
    assert (tmp_path / "keys" / "mine.key").stat().st_mode & 0o777 == 0o600


LEAVING = """
import sys
from pathlib import Path
from sharekit.program.umask import make_private, users_umask
make_private()
make_private()
inside, outside = Path(sys.argv[1], "inside"), Path(sys.argv[1], "outside")
inside.touch()
with users_umask():
    outside.touch()
Path(sys.argv[1], "later").touch()
"""


def test_what_leaves_a_private_program_has_the_user_s_umask_and_nothing_else(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", LEAVING, str(tmp_path)], check=True, umask=UMASK)
    found = {path.name: f"{path.stat().st_mode & 0o777:o}" for path in tmp_path.iterdir()}
    assert found == {"inside": "600", "outside": "640", "later": "600"}
