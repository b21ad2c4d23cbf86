"""Windows, simulated: whoever uses a bundle works there, and the node says that it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hospital_node.candidate.build import build_onnx
from sharekit.errors import DependencyError
from sharekit.signing.keys import generate
from tests.sharekit.bundles import small_bundle
from tests.tiny import tiny_generator

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent


class Shell:
    """Runs command lines in a folder, with a Python that lacks what Windows lacks."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, line: str, expect: int = 0) -> str:
        program, *arguments = line.split()
        # getpass takes a user's name from there, as Windows sets it.
        environment = {**os.environ, "USERNAME": "user", "PYTHONDONTWRITEBYTECODE": "1"}
        paths = [ROOT / "tests" / "windows", *filter(None, [os.environ.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(map(str, paths))
        ended = subprocess.run(
            [BIN / program, *arguments],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == expect, f"{line}\n{ended.stdout}{ended.stderr}"
        return ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A bundle with its key, and samples of it."""
    root = tmp_path_factory.mktemp("windows")
    key = generate()
    key.save(root / "key.key")
    key.public.save(root / "key.pub")
    generators = [tiny_generator(seed, sizes=((9, 11), (14, 17))) for seed in (0, 1)]
    small_bundle(root / "bundle", key, generators={each.spec: build_onnx(each) for each in generators})
    shell = Shell(root)
    shell.run("consumer sample bundle --key key.pub --count 4 --seed 1 --out samples --provider cpu")
    return shell


@pytest.mark.parametrize(
    "line",
    [
        "sharekit keys new --out mine --no-password",
        "sharekit keys fingerprint key.pub",
        "sharekit verify bundle --key key.pub",
        "sharekit inspect bundle",
        "consumer validate samples --bundle bundle --key key.pub --lpips-images 0 --out report.html",
    ],
)
def test_whoever_uses_a_bundle_works_there(shell: Shell, line: str) -> None:
    shell.run(line)


def test_samples_are_the_same_there(shell: Shell) -> None:
    here = [BIN / "consumer", "sample", "bundle", "--key", "key.pub", "--count", "4", "--seed", "1"]
    subprocess.run([*here, "--out", "here", "--provider", "cpu"], cwd=shell.root, check=True)
    for path in sorted((shell.root / "samples").rglob("*.png")):
        twin = shell.root / "here" / path.relative_to(shell.root / "samples")
        assert path.read_bytes() == twin.read_bytes()


@pytest.mark.slow
def test_a_segmenter_is_trained_and_submitted_there(shell: Shell) -> None:
    random = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (shell.root / "held" / folder).mkdir(parents=True)
    for number in range(2):
        pixels = random.integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(shell.root / "held" / "images" / f"{number}.png")
        mask = np.where(pixels[..., 0] > 127, 255, 0).astype(np.uint8)
        Image.fromarray(mask).save(shell.root / "held" / "masks" / f"{number}.png")
    network = "--architecture unet --encoder resnet18 --size 32 --batch-size 2 --threads 1"
    shell.run(f"consumer train samples --validation held --out model.onnx --updates 1 {network}")
    shell.run("consumer submit model.onnx --key key.key --out submission")


def test_a_link_is_refused_without_the_flag_that_refuses_it(shell: Shell) -> None:
    (shell.root / "link.pub").symlink_to("key.pub")
    assert "symbolic links" in shell.run("sharekit keys fingerprint link.pub", expect=3)


@pytest.mark.parametrize("command", ["status", "train", "doctor"])
def test_the_node_says_that_it_does_not_work_there(shell: Shell, command: str) -> None:
    told = shell.run(f"hospital-node {command} --node node", expect=DependencyError.exit_code)
    assert "Linux or macOS" in told
    assert "pip install" not in told
