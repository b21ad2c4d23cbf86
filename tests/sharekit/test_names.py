"""File names: nothing that leaves the bundle, and nothing that two systems read differently."""

from __future__ import annotations

import pytest

from sharekit.errors import VerificationError
from sharekit.storage.names import check_names, printable


@pytest.mark.parametrize(
    "name", ["CARD.md", "model.sig", "style/conv1_1.npy", "generators/" + "0" * 32 + ".onnx"]
)
def test_our_own_names_are_allowed(name: str) -> None:
    check_names([name])


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../x",
        "a/../x",
        "a/./x",
        "a//x",
        "a/",
        "",
        ".",
        "..",
        "a\\x",
        "C:x",
        ".git",
        "a/.hidden",
        "x.",
        "x ",
        "a\0b",
        "a\nb",
        "a\u202eb",
        "ä",
        "con",
        "a/NUL.txt",
        "x" * 201,
        "/".join("abcdefghi"),
        "\udcff",
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(VerificationError) as caught:
        check_names([name])
    assert caught.value.item == printable(name)
    assert caught.value.item.isprintable()


@pytest.mark.parametrize(
    "pair", [("a/B.md", "A/b.md"), ("caf\u00e9", "cafe\u0301"), ("stra\u00dfe", "STRASSE"), ("a", "a")]
)
def test_names_that_are_one_on_some_file_system_collide(pair: tuple[str, str]) -> None:
    with pytest.raises(VerificationError) as caught:
        check_names(["other", *pair])
    assert "collision" in caught.value.found
