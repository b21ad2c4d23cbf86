"""`consumer sample` from the command line, as a user runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from consumer.cli import main
from consumer.sampling.runtime import choose_provider
from tests.consumer.test_dataset import digests


def sample(bundle: Path, key: Path, out: Path, *options: str) -> int:
    arguments = ["--key", str(key), "--samples", "4", "--seed", "1", "--out", str(out)]
    return main(["sample", str(bundle), *arguments, *options])


def test_a_verified_bundle_becomes_a_data_set(
    signed: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample(*signed, tmp_path / "set", "--device", "cpu", "--format", "json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["verdict"] == "authentic"
    assert result["provider"]["name"] == "cpu"
    assert result["samples_per_second"] > 0
    assert result["dataset"] == json.loads((tmp_path / "set" / "dataset.json").read_text())
    assert len(list((tmp_path / "set" / "images").iterdir())) == 4


def test_the_former_names_of_options_still_work(
    signed: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--key", str(signed[1]), "--count", "4", "--seed", "1", "--provider", "cpu"]
    assert main(["sample", str(signed[0]), *arguments, "--out", str(tmp_path / "set")]) == 0
    assert sample(*signed, tmp_path / "other", "--device", "cpu") == 0
    assert digests(tmp_path / "set") == digests(tmp_path / "other")
    with pytest.raises(SystemExit):
        main(["sample", "--help"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("--samples", "--device"))
    assert not any(name in shown for name in ("--count", "--provider"))


def test_the_same_command_again_draws_nothing_and_another_is_refused_by_name(
    signed: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample(*signed, tmp_path / "set", "--device", "cpu") == 0
    capsys.readouterr()
    assert sample(*signed, tmp_path / "set", "--device", "cpu", "--batch-size", "2", "--no-isolate") == 0
    assert "(all drawn before)" in capsys.readouterr().out
    assert sample(*signed, tmp_path / "set", "--device", "cpu", "--samples", "5") == 3
    assert "count: 4 there, 5 now" in capsys.readouterr().err


def test_isolation_is_said_and_changes_nothing(
    signed: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option, isolated in (("--isolate", True), ("--no-isolate", False)):
        assert sample(*signed, tmp_path / option, option, "--device", "cpu", "--format", "json") == 0
        assert json.loads(capsys.readouterr().out)["isolated"] == isolated
    assert digests(tmp_path / "--isolate") == digests(tmp_path / "--no-isolate")


def test_the_text_says_what_was_chosen_and_why(
    signed: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample(*signed, tmp_path / "set") == 0
    choice = choose_provider("auto")
    assert f"ran on {choice.name}: {choice.reason}" in capsys.readouterr().out


def test_width_comes_before_height(signed: tuple[Path, Path], tmp_path: Path) -> None:
    assert sample(*signed, tmp_path / "set", "--size", "40x30", "--probabilities", "--threads", "1") == 0
    description = json.loads((tmp_path / "set" / "dataset.json").read_text())
    assert description["size"] == {"height": 30, "width": 40}
    assert (tmp_path / "set" / "probabilities" / "000003.npy").is_file()


@pytest.mark.parametrize("size", ["40", "0x3", "-4x4", "4x4x4", "fourxfour"])
def test_a_size_of_another_form_is_wrong_usage(signed: tuple[Path, Path], tmp_path: Path, size: str) -> None:
    with pytest.raises(SystemExit) as caught:
        sample(*signed, tmp_path / "set", "--size", size)
    assert caught.value.code == 2


def test_a_size_beyond_the_bundle_s_limit_is_wrong_usage(signed: tuple[Path, Path], tmp_path: Path) -> None:
    assert sample(*signed, tmp_path / "set", "--size", "5000x30") == 2
    assert list(tmp_path.iterdir()) == []


def test_cuda_that_does_not_run_exits_with_6_and_writes_nothing(
    signed: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if choose_provider("auto").name == "cuda":
        pytest.skip("a CUDA device runs here")
    assert sample(*signed, tmp_path / "set", "--device", "cuda") == 6
    assert "--device cuda" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_flipped_byte_in_any_file_is_refused_by_name_and_writes_nothing(
    signed: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, key = signed
    for file in sorted(path for path in bundle.rglob("*") if path.is_file()):
        name = file.relative_to(bundle).as_posix()
        changed = tmp_path / "changed"
        shutil.copytree(bundle, changed)
        data = bytearray((changed / name).read_bytes())
        data[len(data) // 2] ^= 1
        (changed / name).write_bytes(data)
        assert sample(changed, key, tmp_path / "set") == 4, name
        assert f"error: {name}" in capsys.readouterr().err
        assert not (tmp_path / "set").exists()
        shutil.rmtree(changed)


def test_an_unlisted_file_is_refused(signed: tuple[Path, Path], tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(signed[0], changed)
    (changed / "generators" / "extra.onnx").write_bytes(b"x")
    assert sample(changed, signed[1], tmp_path / "set") == 4
    assert not (tmp_path / "set").exists()
