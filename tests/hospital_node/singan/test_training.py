import dataclasses
import io
import pickle
import threading

import numpy as np
import pytest
import torch

from hospital_node.singan import checkpoint
from hospital_node.singan.config import PROFILES, TrainingConfig
from hospital_node.singan.networks import sample
from hospital_node.singan.training import ScaleProgress, Stopped, train
from sharekit.errors import InputError, NodeStateError, UsageError
from sharekit.generator.tensors import ChannelLayout

LAYOUT = ChannelLayout(3, ("lesion",))
CONFIG = TrainingConfig(
    max_side=24,
    min_side=14,
    iterations=6,
    discriminator_steps=2,
    generator_steps=2,
    base_channels=4,
    max_channels=4,
)


def picture(seed: int = 0) -> np.ndarray:
    y, x = np.mgrid[0:40, 0:48] / 48
    disc = np.where((x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.04, 1, -1)
    return np.stack([np.sin(5 * x + seed), np.cos(4 * y), x - y, disc]).astype(np.float32)


def _train(directory, *, tensors=None, config=CONFIG, seed=7, **options):
    return train(
        tensors or [picture()],
        LAYOUT,
        config,
        generator_id="cd" * 16,
        profile="test",
        checkpoint_dir=directory,
        seed=seed,
        **options,
    )


def _arrays(generator):
    noise = generator.spec.noise(1, [0, 1])
    return sample(generator, noise)


def test_training_is_reproducible(tmp_path):
    np.testing.assert_array_equal(_arrays(_train(tmp_path / "a")), _arrays(_train(tmp_path / "b")))


def test_another_seed_gives_another_generator(tmp_path):
    first, second = _train(tmp_path / "a"), _train(tmp_path / "b", seed=8)
    assert not np.array_equal(_arrays(first), _arrays(second))


@pytest.mark.parametrize("stop_after", [1, 5, 6, 9, 13])
def test_a_stopped_training_goes_on_bit_for_bit(tmp_path, stop_after):
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > stop_after

    with pytest.raises(Stopped):
        _train(tmp_path / "a", should_stop=should_stop)
    np.testing.assert_array_equal(_arrays(_train(tmp_path / "a")), _arrays(_train(tmp_path / "b")))


def test_a_resumed_training_does_not_repeat_finished_scales(tmp_path):
    seen: list[ScaleProgress] = []
    stop = threading.Event()

    def note(progress: ScaleProgress) -> None:
        seen.append(progress)
        if progress.scale == 1:
            stop.set()

    with pytest.raises(Stopped):
        _train(tmp_path, on_progress=note, should_stop=stop.is_set)
    seen.clear()
    stop.clear()
    _train(tmp_path, on_progress=seen.append)
    assert [progress.scale for progress in seen] == [2]


def test_training_again_after_the_end_trains_nothing(tmp_path):
    first = _train(tmp_path)
    seen: list[ScaleProgress] = []
    again = _train(tmp_path, on_progress=seen.append)
    assert seen == []
    np.testing.assert_array_equal(_arrays(first), _arrays(again))


def test_reconstruction_improves(tmp_path):
    losses: dict[int, list[float]] = {}
    config = dataclasses.replace(CONFIG, iterations=60, base_channels=8, max_channels=8)
    _train(
        tmp_path,
        config=config,
        on_progress=lambda p: losses.setdefault(p.scale, []).append(p.reconstruction_loss),
    )
    first, last = losses[0][0], losses[0][-1]
    assert last < 0.5 * first


def test_two_pictures_can_share_a_generator(tmp_path):
    generator = _train(tmp_path, tensors=[picture(0), picture(2)])
    assert len(generator.scales) == len(generator.spec.scales)


def test_the_authors_z_star_is_drawn_again_and_ours_is_fixed(tmp_path):
    fixed = _z_star_history(tmp_path / "fixed", CONFIG)
    redrawn = _z_star_history(tmp_path / "redrawn", dataclasses.replace(CONFIG, redraw_z_star=True))
    assert all(torch.equal(z, fixed[0]) for z in fixed)
    assert not torch.equal(redrawn[0], redrawn[1])


def _z_star_history(directory, config) -> list[torch.Tensor]:
    history = []
    for stop_after in (2, 3):
        asked = 0

        def should_stop(limit: int = stop_after) -> bool:
            nonlocal asked
            asked += 1
            return asked > limit

        with pytest.raises(Stopped):
            _train(directory, config=config, should_stop=should_stop)
        state = torch.load(directory / "checkpoint.pt", weights_only=True)
        history.append(state["running"]["z_star"][0])
    return history


def test_z_star_is_not_in_the_trained_generator(tmp_path):
    generator = _train(tmp_path)
    z_star = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["z_star"][0]
    generator.save(tmp_path / "g.safetensors")
    assert z_star.numpy().tobytes()[:64] not in (tmp_path / "g.safetensors").read_bytes()


def test_destroying_leaves_no_checkpoint(tmp_path):
    _train(tmp_path)
    checkpoint.destroy(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_is_readable_by_its_owner_only(tmp_path):
    _train(tmp_path)
    assert (tmp_path / "checkpoint.pt").stat().st_mode & 0o077 == 0


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    _train(tmp_path)
    with pytest.raises(NodeStateError, match="settings"):
        _train(tmp_path, config=dataclasses.replace(CONFIG, iterations=7))


def test_attack_a_checkpoint_that_runs_code_is_refused(tmp_path):
    class Attack:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    tmp_path.joinpath("checkpoint.pt").write_bytes(pickle.dumps(Attack(), protocol=2))
    with pytest.raises(NodeStateError):
        _train(tmp_path)
    buffer = io.BytesIO()
    torch.save({"format": 1, "fingerprint": Attack()}, buffer)
    tmp_path.joinpath("checkpoint.pt").write_bytes(buffer.getvalue())
    with pytest.raises(NodeStateError):
        _train(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_tensors_that_do_not_fit_the_layout_are_refused(tmp_path):
    with pytest.raises(InputError, match="layout"):
        _train(tmp_path, tensors=[picture()[:3]])
    with pytest.raises(InputError, match="layout"):
        _train(tmp_path, tensors=[picture(), picture()[:, 1:]])


def test_settings_of_nothing_are_refused():
    with pytest.raises(UsageError, match="iterations"):
        TrainingConfig(iterations=0)


def test_an_unknown_precision_is_refused():
    with pytest.raises(UsageError, match="precision"):
        TrainingConfig(precision="float8")


def test_bfloat16_learns_nearly_the_same_reconstruction(tmp_path):
    found = {}
    for precision in ("float32", "bfloat16"):
        config = dataclasses.replace(
            CONFIG, iterations=40, base_channels=8, max_channels=8, precision=precision
        )
        losses: list[ScaleProgress] = []
        _train(tmp_path / precision, config=config, on_progress=losses.append)
        found[precision] = losses[-1].reconstruction_loss
    assert found["bfloat16"] == pytest.approx(found["float32"], rel=0.5)
    assert found["bfloat16"] != found["float32"]


def test_fast_makes_a_fifth_of_the_updates_of_paper():
    fast, paper = (
        PROFILES[name].iterations * (PROFILES[name].discriminator_steps + PROFILES[name].generator_steps)
        for name in ("fast", "paper")
    )
    assert fast <= paper / 5


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_survives_json(name):
    assert TrainingConfig.from_json(PROFILES[name].to_json()) == PROFILES[name]
