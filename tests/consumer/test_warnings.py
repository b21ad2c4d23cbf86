"""An expired bundle is authentic and still works; whoever opens it is warned, with every command."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

import consumer
from consumer.cli import main
from sharekit.bundle import features
from sharekit.signing import keys
from tests.sharekit.bundles import small_bundle
from tests.tiny_features import tiny_network, tiny_statistics, write_checkpoint

WARNING = "The bundle has expired: ask the hospital for a newer release."


@pytest.fixture(scope="module")
def expired(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle that has expired, its key, and a feature file that its style belongs to."""
    root = tmp_path_factory.mktemp("expired")
    sha256 = write_checkpoint(root / "vgg16.ckpt")
    key = keys.generate()
    key.public.save(root / "hospital.pub")
    statistics = tiny_statistics(tiny_network(sha256=sha256))
    small_bundle(root / "bundle", key, expires=datetime(2026, 2, 1, tzinfo=UTC), extra=statistics.to_files())
    return root


@pytest.fixture(autouse=True)
def feature_file(expired: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = hashlib.sha256((expired / "vgg16.ckpt").read_bytes()).hexdigest()
    monkeypatch.setattr(features, "VGG16_CHECKPOINT_SHA256", sha256)
    monkeypatch.setenv(features.ENVIRONMENT_VARIABLE, str(expired / "vgg16.ckpt"))


def test_every_command_that_opens_a_bundle_warns(
    expired: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, key, data = expired / "bundle", expired / "hospital.pub", tmp_path / "set"
    sample = ["sample", bundle, "--key", key, "--samples", 3, "--seed", 1, "--size", "24x20"]
    style = ["style", data, "--bundle", bundle, "--steps", 1, "--device", "cpu", "--threads", 1]
    validate = ["validate", data, "--bundle", bundle, "--lpips-images", 0, "--out", tmp_path / "page.html"]
    for command in ([*sample, "--device", "cpu", "--out", data], style, validate):
        arguments = [str(part) for part in command]
        for form in ("text", "json"):
            main([*arguments, "--format", form])
            shown = capsys.readouterr().out
            warnings = [WARNING] if WARNING in shown else []
            if form == "json":
                warnings = json.loads(shown)["warnings"]
            assert warnings == [WARNING], (command[0], form)


def test_a_bundle_in_python_says_so(expired: Path) -> None:
    opened = consumer.open_bundle(expired / "bundle", expired / "hospital.pub", device="cpu")
    assert opened.warnings == (WARNING,)


def test_a_bundle_in_time_says_nothing(signed: tuple[Path, Path]) -> None:
    assert consumer.open_bundle(*signed, device="cpu").warnings == ()
