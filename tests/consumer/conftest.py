"""Signed bundles of tiny generators, made once for all tests of the consumer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import consumer
from consumer.sampling.synthetic_bundle import Bundle
from hospital_node.candidate.build import build_onnx
from hospital_node.singan.trained import TrainedGenerator
from sharekit.signing import keys
from tests.sharekit.bundles import small_bundle
from tests.tiny import tiny_generator

BundleMaker = Callable[..., tuple[Path, Path]]


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> BundleMaker:
    """A function from generators to the paths of a new bundle and of the public key that signed it."""

    def make(*generators: TrainedGenerator) -> tuple[Path, Path]:
        folder = tmp_path_factory.mktemp("signed")
        key = keys.generate()
        key.public.save(folder / "hospital.pub")
        small_bundle(
            folder / "bundle",
            key,
            generators={generator.spec: build_onnx(generator) for generator in generators},
        )
        return folder / "bundle", folder / "hospital.pub"

    return make


@pytest.fixture(scope="session")
def signed(make_bundle: BundleMaker) -> tuple[Path, Path]:
    """Paths of a bundle of three generators of two sizes, and of its key."""
    return make_bundle(
        tiny_generator(0, sizes=((9, 11), (14, 17))),
        tiny_generator(1, sizes=((9, 11), (14, 17))),
        tiny_generator(2, sizes=((8, 8), (12, 12))),
    )


@pytest.fixture(scope="session")
def bundle(signed: tuple[Path, Path]) -> Bundle:
    return consumer.open_bundle(*signed, provider="cpu", threads=1)
