"""`consumer style` with protected colours: the data set moves towards them, as far as their noise allows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from consumer.cli import main
from consumer.datasets.reader import read_folder
from consumer.style.colours import ColourMove, shrunk
from sharekit.bundle.colour_statistics import BOUNDS, ColourStatistics, picture_colours
from sharekit.generator.tensors import pixels_to_tensor
from sharekit.signing import keys
from sharekit.storage import files, schema
from tests.consumer.pairs import write_pairs
from tests.sharekit.bundles import small_bundle

TARGET = {
    "mean L*": 55.0,
    "mean a*": 25.0,
    "mean b*": 15.0,
    "deviation L*": 15.0,
    "deviation a*": 8.0,
    "deviation b*": 6.0,
}
PROTECTION = {
    "mechanism": "discrete Laplace (geometric)",
    "library": "opendp 0.16.0",
    "neighbours": "one patient replaced by another; their number is public",
    "epsilon": 1.0,
    "l1_sensitivity": 6000,
    "scale": 6000.0,
    "post_processing": "clipped to the bounds",
}


def statistics(noise: float = 0.01) -> ColourStatistics:
    return ColourStatistics(600, TARGET, dict.fromkeys(BOUNDS, noise), PROTECTION)


def smooth(seed: int, channels: int = 3) -> np.ndarray:
    """A picture of soft colours `(C, 24, 24)` in [-1, 1]: no colour of it leaves the range of sRGB."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:24, 0:24] / 24
    light, *tints = (np.sin(2 * np.pi * (rng.uniform(0.5, 2) * y + x + rng.uniform())) for _ in range(4))
    tinted = 0.35 * light + 0.12 * np.stack(tints) + rng.uniform(-0.2, 0.2)
    return tinted[:channels].astype(np.float32)


def test_a_data_set_gets_the_average_colours_of_the_bundle() -> None:
    images = np.stack([smooth(seed) for seed in range(8)])
    after = ColourMove.towards(statistics(), images).apply(images)
    found = np.mean([picture_colours(image) for image in after], axis=0)
    assert found == pytest.approx(list(TARGET.values()), abs=2.5)


def test_images_differ_from_each_other_as_before() -> None:
    images = np.stack([smooth(seed) for seed in range(8)])
    after = ColourMove.towards(statistics(), images).apply(images)
    before, moved = (np.array([picture_colours(one)[:3] for one in part]) for part in (images, after))
    assert moved - moved.mean(axis=0) == pytest.approx(before - before.mean(axis=0), abs=2.5)


def test_numbers_within_the_noise_move_nothing() -> None:
    images = np.stack([smooth(seed) for seed in range(4)])
    after = ColourMove.towards(statistics(noise=1000.0), images).apply(images)
    assert after == pytest.approx(images, abs=1e-4)
    assert shrunk(np.array([10.0, -10.0, 1.0]), np.array([1.0, 1.0, 1.0])) == pytest.approx([9.8, -9.8, 0])


def test_grey_images_stay_grey() -> None:
    images = np.stack([smooth(seed, 1) for seed in range(3)])
    after = ColourMove.towards(statistics(), images).apply(images)
    assert after.shape == images.shape
    assert picture_colours(after[0])[0] > picture_colours(images[0])[0]


def test_the_command_styles_with_a_bundle_s_protected_colours_and_needs_no_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHAREKIT_FEATURES", str(tmp_path / "no such file"))
    key = keys.generate()
    (tmp_path / "release.pub").write_bytes(key.public.pem())
    vector = Path(schema.__file__).parents[2] / "schemas/v1/vectors/statistics/valid/one-class.json"
    value = {**json.loads(vector.read_text()), "colours": statistics().to_json()}
    small_bundle(tmp_path / "bundle", key, extra={"statistics.json": files.dump_json(value)})
    root = write_pairs(tmp_path / "set", 3)
    line = ("style", root, "--bundle", tmp_path / "bundle", "--key", tmp_path / "release.pub")
    assert main([*map(str, line), "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["network"], told["statistics_images"], told["styled"]) == ("colours", 600, 3)
    styled = read_folder(tmp_path / "set-styled").require_sound()
    assert styled.description["style"]["method"] == "colours"
    for mask in (root / "masks").iterdir():
        assert (styled.root / "masks" / mask.name).read_bytes() == mask.read_bytes()
    own, moved = (
        np.mean([picture_colours(pixels_to_tensor(one.read_image(entry))) for entry in one.entries], axis=0)
        for one in (read_folder(root), styled)
    )
    target = np.array(list(TARGET.values()))
    assert np.abs(moved - target)[:3].sum() < np.abs(own - target)[:3].sum() / 2
    assert main([*map(str, line), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["styled"] == 0
