"""Nothing opened unproven: a changed generator stops a data set before it begins, and never runs."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import onnx
import pytest

import consumer
from consumer.cli import main
from sharekit.errors import VerificationError
from sharekit.signing.keys import generate
from sharekit.storage.container import Folder
from tests.sharekit.bundles import complete, make_parts, sha256, tiny_onnx, write_signed


@pytest.fixture
def tampered(signed: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path, str]:
    """A copy of a bundle whose last generator has one other byte, its key, and that generator's file."""
    path = shutil.copytree(signed[0], tmp_path / "bundle")
    changed = consumer.open_bundle(*signed, device="cpu").generators[-1].file
    data = bytearray((path / changed).read_bytes())
    data[-200] ^= 1
    (path / changed).write_bytes(data)
    return path, signed[1], changed


def sample(bundle: Path, key: Path, out: Path, *options: str) -> int:
    return main(
        [
            "sample",
            str(bundle),
            "--key",
            str(key),
            "--seed",
            "1",
            "--threads",
            "1",
            "--out",
            str(out),
            *options,
        ]
    )


def test_a_changed_generator_stops_a_data_set_before_anything_is_written(
    tampered: tuple[Path, Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, key, changed = tampered
    assert sample(path, key, tmp_path / "set", "--samples", "30") == 4
    said = capsys.readouterr().err
    assert changed in said
    assert sha256((path / changed).read_bytes()) in said
    assert "as signed" in said
    assert "fetch it again from the hospital" in said
    assert sorted(one.name for one in tmp_path.iterdir()) == ["bundle"]


def test_a_mixture_with_a_changed_generator_is_not_begun_either(
    tampered: tuple[Path, Path, str], tmp_path: Path
) -> None:
    path, key, _ = tampered
    parts = make_parts(other := generate(), hospital="Another hospital", generators=dict([tiny_onnx(5)]))
    parts.write(tmp_path / "other", other)
    other.public.save(tmp_path / "other.pub")
    more = ("--key", str(tmp_path / "other.pub"), "--samples", "30")
    both = ["sample", str(tmp_path / "other"), str(path), "--key", str(key), *more, "--seed", "1"]
    assert main([*both, "--out", str(tmp_path / "mixed")]) == 4
    assert not [one for one in tmp_path.iterdir() if one.name.startswith("mixed")]


def test_generators_that_do_not_draw_are_not_read(tampered: tuple[Path, Path, str], tmp_path: Path) -> None:
    path, key, _ = tampered
    assert sample(path, key, tmp_path / "set", "--samples", "2") == 0


def test_opening_one_generator_reads_that_one_and_no_other(
    signed: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Counter[str] = Counter()
    real = Folder.read

    def counted(self: Folder, name: str) -> bytes:
        read[name] += 1
        return real(self, name)

    monkeypatch.setattr(Folder, "read", counted)
    bundle = consumer.open_bundle(*signed, device="cpu", threads=1)
    assert [name for name in read if name.startswith("generators/")] == []
    chosen = bundle.generators[1]
    assert len(list(bundle.sample(3, generator=chosen.spec.id))) == 3
    assert [name for name in read if name.startswith("generators/")] == [chosen.file]


def test_a_signed_generator_that_breaks_the_onnx_rules_is_not_loaded(tmp_path: Path) -> None:
    """A careless or misled hospital signs it: digest and signature hold, the rules do not."""
    key = generate()
    spec, data = tiny_onnx()
    model = onnx.load_from_string(data)
    model.metadata_props.add(key="note", value="anything")
    parts = make_parts(key, {spec: model.SerializeToString()})
    write_signed(tmp_path / "bundle", complete(parts), key)
    key.public.save(tmp_path / "key.pub")
    bundle = consumer.open_bundle(tmp_path / "bundle", tmp_path / "key.pub", device="cpu", threads=1)
    with pytest.raises(VerificationError):
        next(bundle.sample(1))
    assert bundle.sessions_opened == 0


def test_a_file_that_changes_after_its_proof_leaves_no_finished_data_set(
    signed: tuple[Path, Path], tmp_path: Path
) -> None:
    path = shutil.copytree(signed[0], tmp_path / "bundle")
    bundle = consumer.open_bundle(path, signed[1], device="cpu", threads=1)
    bundle.prove(bundle.generators)
    (path / bundle.generators[0].file).write_bytes(b"other")
    with pytest.raises(VerificationError, match=bundle.generators[0].file):
        next(bundle.sample(1))
    assert bundle.sessions_opened == 0
