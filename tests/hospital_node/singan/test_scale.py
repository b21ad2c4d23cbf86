"""What one scale takes over from the one below."""

import dataclasses

import pytest
import torch

from hospital_node.singan.critic import critic_gradients
from hospital_node.singan.pyramid import upsample
from hospital_node.singan.scale import ScaleTraining
from hospital_node.singan.training import Lane, LaneJob
from tests.hospital_node.singan import reference
from tests.hospital_node.singan.test_training import CONFIG, LAYOUT, picture


@pytest.fixture
def lane(tmp_path) -> Lane:
    """A generator with its first scale trained for one step."""
    lane = Lane(LaneJob([picture()], LAYOUT, "0" * 32, tmp_path, 3), CONFIG, torch.device("cpu"))
    first = ScaleTraining([lane])
    assert first.amplitudes == [1.0]
    first.step()
    first.freeze()
    return lane


def test_the_noise_amplitude_agrees_with_the_reference(lane):
    second = ScaleTraining([lane])
    real = lane.reals[1][0]
    rebuilt = upsample(lane.reconstructions[0], *real.shape[2:])
    expected = reference.noise_amplitude(real[0].double(), rebuilt[0].double(), CONFIG.noise_amplitude)
    assert second.amplitudes == [pytest.approx(expected, rel=1e-5)]


def test_weights_start_from_the_scale_below_where_the_channels_match(lane):
    second = ScaleTraining([lane])
    below = lane.scales[0].blocks[0].weight
    torch.testing.assert_close(second.generator.layers[0][0].weight.detach(), torch.from_numpy(below))
    states = lane.discriminator_state
    assert states is not None
    torch.testing.assert_close(second.discriminator.state_dict(), states)


@pytest.mark.parametrize(("interval", "weights"), [(1, [0.1] * 6), (3, [0.3, 0.0, 0.0] * 2)])
def test_a_rarer_penalty_weighs_as_much_in_all(tmp_path, monkeypatch, interval, weights):
    config = dataclasses.replace(CONFIG, penalty_interval=interval, discriminator_steps=3, iterations=2)
    lane = Lane(LaneJob([picture()], LAYOUT, "0" * 32, tmp_path, 3), config, torch.device("cpu"))
    training, seen = ScaleTraining([lane]), []

    def recorded(critic, real, fake, mix, weight, precision):
        seen.append(weight)
        return critic_gradients(critic, real, fake, mix, weight, precision)

    monkeypatch.setattr("hospital_node.singan.scale.critic_gradients", recorded)
    training.step()
    training.step()
    assert seen == pytest.approx(weights)
