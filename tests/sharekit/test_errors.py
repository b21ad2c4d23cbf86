"""The error tree."""

from __future__ import annotations

import pickle

import pytest

from sharekit.errors import (
    DependencyError,
    ExposureError,
    InputError,
    NodeStateError,
    PartialFailureError,
    PolicyError,
    SharekitError,
    UsageError,
    VerificationError,
)

CLASSES = [
    *(DependencyError, ExposureError, InputError, NodeStateError, PartialFailureError),
    *(PolicyError, SharekitError, UsageError, VerificationError),
]


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_survives_the_way_between_processes(cls: type[SharekitError]) -> None:
    error = cls("item", expected="this", found="that", next_step="do so")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(again) is cls
    assert again.to_json() == error.to_json()
    assert str(again) == str(error)


def test_no_two_classes_share_an_exit_code() -> None:
    assert len({cls.exit_code for cls in CLASSES}) == len(CLASSES)
