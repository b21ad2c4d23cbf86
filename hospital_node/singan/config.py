"""Training settings: the published ones (`paper`), and the named departures from them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sharekit.errors import UsageError
from sharekit.storage import files

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class TrainingConfig:
    """Every setting that changes what is learnt. Law: `from_json(to_json(x)) == x`.

    The defaults are the published method's: Thambawita et al., PLOS ONE 2022, on SinGAN's settings (Shaham et
    al., ICCV 2019, supplementary material).
    """

    max_side: int = 250  # pixels, long side of the finest scale
    min_side: int = 25  # pixels, short side of the coarsest scale
    scale_factor: float = 0.75  # re-solved so that the coarsest short side is min_side
    iterations: int = 2000  # per scale
    discriminator_steps: int = 3  # per iteration
    generator_steps: int = 3  # per iteration, each with an update
    base_channels: int = 32
    max_channels: int = 128
    channel_doubling: int = 4  # scales between doublings of the channels
    learning_rate: float = 5e-4  # Adam
    beta1: float = 0.5  # Adam
    beta2: float = 0.999  # Adam
    decay_at: float = 0.8  # share of the iterations after which the learning rate drops
    decay_factor: float = 0.1
    gradient_penalty: float = 0.1  # WGAN-GP lambda
    penalty_interval: int = 1
    """Critic updates from one penalty to the next; the penalty's weight is multiplied by this number."""
    reconstruction_weight: float = 10.0
    noise_amplitude: float = 0.1  # times the RMSE of the upsampled reconstruction; 1 at scale 0
    redraw_z_star: bool = False
    """Draw new scale-0 reconstruction noise in every iteration, as the authors' code does."""
    pictures: int = 1
    """Real pictures, and as many drawn ones, in every update of the coarsest scale; see `pictures_at`."""
    z_star: bool = True
    """Give every picture a noise and train scale 0 to rebuild it. Without, no noise belongs to a picture, and
    the scales above rebuild each picture from its own smaller self."""
    critic_norm: bool = True
    """Norm the critic's layers picture by picture, which hides mean colour and contrast from it."""
    colour_jitter: float = 0.0
    """Largest random change of a real picture's brightness and colour, either way, in every update."""
    flips: bool = False
    """Mirror real pictures at random in every update."""
    turn: float = 0.0
    """Largest random turn of a real picture in every update, in degrees, either way."""
    shift: float = 0.0
    """Largest random move of a real picture as a share of half its side, and zoom as a share of its size."""
    precision: str = "float32"
    """Precision of pictures and convolutions in training; the rest is always float32."""

    def __post_init__(self) -> None:
        positive = (
            "max_side",
            "min_side",
            "iterations",
            "discriminator_steps",
            "generator_steps",
            "penalty_interval",
            "base_channels",
            "pictures",
        )
        for name in positive:
            if getattr(self, name) < 1:
                raise UsageError(
                    f"training setting {name}",
                    expected="at least 1",
                    found=str(getattr(self, name)),
                    next_step="correct the setting",
                )
        if self.precision not in PRECISIONS:
            raise UsageError(
                "training setting precision",
                expected=" or ".join(PRECISIONS),
                found=self.precision,
                next_step="correct the setting",
            )

    def to_json(self) -> dict[str, Any]:
        """All settings, without later ones that change nothing: earlier files stay equal."""
        unchanged = {one.name for one in dataclasses.fields(self) if getattr(self, one.name) == one.default}
        left_out = unchanged & LATER
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in left_out}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> TrainingConfig:
        return TrainingConfig(**value)


LATER = frozenset({"pictures", "z_star", "critic_norm", "colour_jitter", "flips", "turn", "shift"})
"""Settings that came with generators of groups: earlier ledgers and checkpoints do not name them."""

PROFILES: Mapping[str, TrainingConfig] = {
    "paper": TrainingConfig(redraw_z_star=True),
    "private": TrainingConfig(),
    "fast": TrainingConfig(
        iterations=1200,
        discriminator_steps=1,
        generator_steps=1,
        learning_rate=2e-3,
        decay_at=0.9,
        reconstruction_weight=100.0,
        redraw_z_star=True,
    ),
    "quick": TrainingConfig(
        max_side=64, iterations=200, discriminator_steps=1, generator_steps=1, max_channels=32
    ),
    "group": TrainingConfig(
        max_side=64,
        min_side=12,
        scale_factor=0.4,
        iterations=400,
        discriminator_steps=1,
        generator_steps=1,
        max_channels=32,
        learning_rate=1e-3,
        noise_amplitude=1.0,
        pictures=8,
        z_star=False,
        critic_norm=False,
        colour_jitter=0.15,
        flips=True,
        turn=180.0,
        shift=0.15,
    ),
}
UPRIGHT_TURN = 15.0
"""Largest turn, in degrees, of pictures that have a right way up."""
DEFAULT_PROFILE = "private"
"""For generators of one image."""
GROUP_PROFILE = "group"
"""For groups of images, which a node trains by default once it has enough of them."""


@dataclass(frozen=True)
class TrainingSettings:
    """A profile's name with every setting of a training. Law: `from_json(to_json(x)) == x`."""

    profile: str
    config: TrainingConfig

    @staticmethod
    def of(profile: str, **changes: Any) -> TrainingSettings:
        """The settings of a profile, with these changed."""
        return TrainingSettings(profile, dataclasses.replace(PROFILES[profile], **changes))

    def upright(self) -> TrainingSettings:
        """The same for pictures with a right way up, like a chest radiograph: no mirrors, small turns."""
        turn = min(self.config.turn, UPRIGHT_TURN)
        return dataclasses.replace(self, config=dataclasses.replace(self.config, flips=False, turn=turn))

    @property
    def canonical(self) -> str:
        """The config as one line of JSON: equal configs give equal lines. The ledger keeps only this form."""
        return json.dumps(self.config.to_json(), sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """What ledgers of schema 1 and 2 kept of the config: 12 hexadecimal digits."""
        return hashlib.sha256(files.dump_json(self.config.to_json())).hexdigest()[:12]

    def to_json(self) -> dict[str, Any]:
        return {"profile": self.profile, "config": self.config.to_json()}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> TrainingSettings:
        return TrainingSettings(str(value["profile"]), TrainingConfig.from_json(value["config"]))
