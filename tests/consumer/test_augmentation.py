"""Each augmentation does what its name says, a mask follows its image, and a seed repeats it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

import consumer.cli
from consumer.torch_support import define_missing_operators
from consumer.training import TrainingSettings, mixing
from consumer.training.augmentation import augmentation, bend, pair_by_pair
from consumer.training.segmenter_checkpoint import CheckpointFolder
from consumer.training.training_settings import AUGMENTATIONS, COPY_PASTE, MIXING, NO_AUGMENTATION, STRONG
from sharekit.errors import UsageError
from sharekit.program.command_line import build_parser

define_missing_operators()
pytest.importorskip("torchvision")

SIZE, COUNT = 32, 6
BACKGROUND = 40


def batch(count: int = COUNT) -> tuple[torch.Tensor, torch.Tensor]:
    """Grey pictures with one rectangle each, whose grey names the picture, and its mask."""
    images = torch.full((count, 3, SIZE, SIZE), BACKGROUND, dtype=torch.uint8)
    masks = torch.zeros(count, SIZE, SIZE, dtype=torch.bool)
    for place in range(count):
        masks[place, 10 + place : 18 + place, 12:22] = True
        images[place][:, masks[place]] = 100 + 20 * place
    return images, masks


def changed(mode: str, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    return augmentation(mode)(*batch())


@pytest.mark.parametrize("mode", AUGMENTATIONS)
def test_a_seed_repeats_it_and_another_seed_does_not(mode: str) -> None:
    first, again, other = changed(mode), changed(mode), changed(mode, seed=1)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert torch.equal(first[0], other[0]) == (mode == NO_AUGMENTATION)
    assert first[0].shape == (COUNT, 3, SIZE, SIZE)
    assert first[1].shape == (COUNT, SIZE, SIZE)


def test_a_bent_mask_marks_what_the_bent_image_shows() -> None:
    torch.manual_seed(3)
    images, masks = batch()
    bent, truth = pair_by_pair(bend)(images, masks)
    assert not torch.equal(truth, masks)
    # Bilinear pixels against nearest ones: they may differ by half a pixel along the edge alone.
    shown = bent[:, 0] > (BACKGROUND + images.flatten(1).amax(1).reshape(-1, 1, 1)) / 2
    assert (shown == truth).float().mean() > 0.99


def test_strong_changes_colour_without_moving_the_mask_away_from_the_lesion() -> None:
    overlap = []
    for seed in range(8):
        images, masks = changed(STRONG, seed)
        for image, mask in zip(images.float(), masks, strict=True):
            if 0 < mask.sum() < mask.numel():
                inside, outside = image[:, mask].mean(), image[:, ~mask].mean()
                overlap.append(abs(float(inside - outside)))
    # Posterised, solarised or equalised: the lesion still stands out where its mask is.
    assert sorted(overlap)[len(overlap) // 4] > 10


def test_nobody_is_its_own_partner() -> None:
    for count in (2, 3, 8):
        found = mixing.partners(count)
        assert sorted(found.tolist()) == list(range(count))
        assert not (found == torch.arange(count)).any()


def test_cutmix_takes_a_rectangle_of_the_partner_with_its_mask() -> None:
    torch.manual_seed(1)
    images, masks = batch()
    # Pictures of one value each: a pixel tells whom it comes from, and so must the mask.
    images = (torch.arange(COUNT, dtype=torch.uint8) * 10).reshape(-1, 1, 1, 1).expand_as(images).clone()
    mixed, truth = mixing.cutmix(images, masks)
    source = (mixed[:, 0] // 10).long()
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    assert torch.equal(truth, masks[source, rows, columns])
    taken = source != torch.arange(COUNT).reshape(-1, 1, 1)
    assert taken.any()
    for each in taken:
        places = each.nonzero()
        if len(places):
            height, width = (places.amax(0) - places.amin(0) + 1).tolist()
            assert each.sum() == height * width


def test_copy_paste_adds_the_lesion_and_its_mask() -> None:
    torch.manual_seed(2)
    images, masks = batch()
    pasted, truth = mixing.copy_paste(images, masks)
    assert (truth & masks).sum() == masks.sum()
    added = truth & ~masks
    assert added.flatten(1).any(1).sum() >= 2
    # What changed is the partner's lesion, and it is marked; what did not change is as it was.
    moved = (pasted != images).any(1)
    assert (truth[moved]).all()
    assert (pasted[:, 0][truth] > BACKGROUND).all()
    assert (pasted[:, 0][~truth] == BACKGROUND).all()
    areas = truth.flatten(1).sum(1)
    assert (areas <= 2 * 8 * 10).all()


def test_copy_paste_of_a_picture_without_a_lesion_changes_nothing() -> None:
    images, masks = batch(2)
    pasted, truth = mixing.copy_paste(images, torch.zeros_like(masks))
    assert torch.equal(pasted, images)
    assert not truth.any()


def test_mixup_blends_images_and_masks_by_one_weight() -> None:
    torch.manual_seed(4)
    images, masks = batch(2)
    mixed, truth = mixing.mixup(images, masks)
    assert mixed.dtype == truth.dtype == torch.float32
    # Only the first picture's lesion covers row 10, only the second's row 18.
    first, second = truth[0, 10, 12], truth[0, 18, 12]
    assert first + second == pytest.approx(1)
    assert 0.001 < first < 0.999
    assert mixed[0, 0, 10, 12] == pytest.approx(float(first * 100 + second * BACKGROUND), abs=1e-3)


def test_earlier_settings_are_read() -> None:
    settings = TrainingSettings().to_json()
    assert TrainingSettings.from_json({**settings, "augment": True}) == TrainingSettings()
    assert TrainingSettings.from_json({**settings, "augment": False}).augment == NO_AUGMENTATION


def test_a_checkpoint_of_an_earlier_release_goes_on(tmp_path: Path) -> None:
    fingerprint = TrainingSettings().to_json()
    CheckpointFolder.beside(tmp_path / "a.onnx", {**fingerprint, "augment": True}).save({"update": 3})
    assert CheckpointFolder.beside(tmp_path / "a.onnx", fingerprint).load() == {"update": 3}


@pytest.mark.parametrize(
    ("words", "augment"),
    [
        ((), "standard"),
        (("--augment",), "standard"),
        (("--no-augment",), "none"),
        (("--augment", "copy-paste"), "copy-paste"),
        (("--augment", "mixup", "--no-augment"), "none"),
    ],
)
def test_the_options_of_earlier_releases_still_work(words: tuple[str, ...], augment: str) -> None:
    parser = build_parser("consumer", "", consumer.cli.COMMANDS)
    args = parser.parse_args(["train", "data", "--validation", "held-out", "--out", "a.onnx", *words])
    assert args.augment == augment


@pytest.mark.parametrize("mode", MIXING)
def test_a_batch_of_one_cannot_be_mixed(mode: str) -> None:
    with pytest.raises(UsageError, match="--batch-size"):
        TrainingSettings(augment=mode, batch_size=1)


def test_an_unknown_augmentation_is_refused() -> None:
    with pytest.raises(UsageError, match=COPY_PASTE):
        replace(TrainingSettings(), augment="wild")
