"""`consumer train` refuses what makes no sense before it reads anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer.cli import main
from sharekit.errors import UsageError


@pytest.mark.parametrize("threads", ["0", "-1"])
def test_no_threads_at_all_are_wrong_usage_and_nothing_is_read(
    threads: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = str(tmp_path / "no such data set")
    words = ["train", nothing, "--validation", nothing, "--out", str(tmp_path / "s.onnx")]
    with pytest.raises(SystemExit) as caught:
        main([*words, "--threads", threads])
    assert caught.value.code == UsageError.exit_code
    told = capsys.readouterr().err
    assert "is not a number of threads" in told
    assert "no such data set" not in told
