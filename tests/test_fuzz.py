"""Fuzzers: whatever bytes arrive, a parser answers with our own error, and changed bytes never verify.

`make fuzz` sets `SHAREKIT_FUZZ_RUNS` to the number of runs of each; the everyday run takes a few.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata

from consumer.repositories.client import RepositoryClient
from sharekit.bundle import manifest
from sharekit.bundle.bundle import verify_bundle
from sharekit.errors import SharekitError, VerificationError
from sharekit.generator import onnx_policy
from sharekit.repository.release_record import ReleaseRecord, Withdrawal
from sharekit.signing import oms
from sharekit.signing.keys import generate
from sharekit.storage import files, schema
from sharekit.trust.handover import Handover
from tests.repository_world import World
from tests.sharekit.bundles import small_bundle, tiny_onnx

RUNS = int(os.environ.get("SHAREKIT_FUZZ_RUNS", "15"))
ATHERIS = 10
"""Runs of the fuzzer that coverage leads, for each run of the others: it serves six parsers."""
FUZZER_MIB = 2048
"""Memory that this fuzzer may take."""
FUZZ = settings(
    max_examples=RUNS,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
KEY = generate()
VECTORS = [
    path
    for path in sorted((Path(__file__).parents[1] / "schemas/v1/vectors").glob("*/valid/*.json"))
    if path.parent.parent.name in schema.names()
]


def json_values(numbers: st.SearchStrategy[float]) -> st.SearchStrategy[Any]:
    return st.recursive(
        st.none() | st.booleans() | st.integers() | numbers | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
        max_leaves=12,
    )


JSON = json_values(st.floats())
JSON_WITHOUT_NAN = json_values(st.floats(allow_nan=False, allow_infinity=False))


@st.composite
def changes(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """A change of bytes: some replaced, removed, repeated or inserted."""
    where = draw(st.floats(0, 1, exclude_max=True))
    length = draw(st.integers(1, 64))
    new = draw(st.binary(min_size=0, max_size=64))
    kind = draw(st.sampled_from(["replace", "remove", "repeat", "truncate"]))

    def change(data: bytes) -> bytes:
        start = int(where * len(data))
        part = data[start : start + length]
        if kind == "replace":
            return data[:start] + new + data[start + len(new) :]
        if kind == "remove":
            return data[:start] + data[start + length :]
        if kind == "repeat":
            return data[:start] + part + part + data[start + length :]
        return data[:start]

    return change


@pytest.fixture(scope="module")
def zipped(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("fuzz") / "bundle.zip"
    small_bundle(path, KEY)
    return path.read_bytes()


@FUZZ
@given(change=changes())
def test_a_changed_zip_is_refused_with_our_error(
    zipped: bytes, change: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    changed = change(zipped)
    path = tmp_path / "bundle.zip"
    path.write_bytes(changed)
    if changed == zipped:
        return
    with pytest.raises(SharekitError):
        verify_bundle(path, [KEY.public])


@FUZZ
@given(change=changes())
def test_a_changed_signature_file_is_refused(change: Callable[[bytes], bytes]) -> None:
    signed = oms.sign("a model", {"a": "0" * 64}, KEY)
    changed = change(signed)
    if changed != signed:
        with pytest.raises(VerificationError):
            oms.verify(changed, [KEY.public])


@FUZZ
@given(change=changes(), value=JSON)
def test_any_manifest_is_read_or_refused(change: Callable[[bytes], bytes], value: object) -> None:
    text = (Path(__file__).parents[1] / "schemas/v1/vectors/manifest/valid").glob("*.json")
    valid = next(text).read_bytes()
    try:
        odd = files.dump_json(value)
    except ValueError:
        odd = b"NaN"
    for data in (change(valid), odd):
        try:
            manifest.parse(data)
        except VerificationError:
            continue


@FUZZ
@given(change=changes(), noise=st.binary(max_size=200))
def test_any_onnx_file_is_read_or_refused(change: Callable[[bytes], bytes], noise: bytes) -> None:
    spec, data = tiny_onnx()
    for candidate in (change(data), noise):
        try:
            onnx_policy.check_generator(candidate, "generators/x.onnx", spec)
        except VerificationError:
            continue


def places(value: object) -> list[tuple[Any, Any]]:
    """Every list or object within a JSON value, with each of its keys."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, part in inner for place in [(value, key), *places(part)]]


@FUZZ
@given(data=st.data())
def test_the_quick_answer_of_a_schema_is_the_validators(data: st.DataObject) -> None:
    """A value of a valid document is replaced, removed or put under another key."""
    path = data.draw(st.sampled_from(VECTORS))
    name, value = path.parent.parent.name, files.parse_json(path.read_bytes(), path)
    inside, key = data.draw(st.sampled_from(places(value)))
    if isinstance(inside, dict) and data.draw(st.booleans()):
        moved = inside.pop(key)
        if data.draw(st.booleans()):
            inside[data.draw(st.text(max_size=12))] = moved
    else:
        inside[key] = data.draw(JSON_WITHOUT_NAN | st.just([inside[key]] * 2))
    assert schema.quickly_fits(name, value) == schema.validator(name).is_valid(value)


@FUZZ
@given(value=JSON)
def test_any_record_withdrawal_and_handover_is_read_or_refused(value: object) -> None:
    from sharekit.signing.dsse import Statement, Subject

    for read in (ReleaseRecord.from_json, Withdrawal.from_json):
        with pytest.raises(VerificationError):
            read(value)
    if isinstance(value, dict):
        statement = Statement((Subject("new.pub", "0" * 64),), "urn:sharekit:handover:v1", value)
        with pytest.raises(SharekitError):
            Handover.from_statement(statement)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("fuzzed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHAREKIT_HOME", str(root / "home"))
        return World.make(root, "alpha")


@FUZZ
@given(
    change=changes(),
    role=st.sampled_from(["timestamp.json", "2.snapshot.json", "2.targets.json", "1.alpha.json"]),
)
def test_changed_repository_metadata_is_refused_or_means_the_same(
    template: World,
    change: Callable[[bytes], bytes],
    role: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("one")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHAREKIT_HOME", str(root / "home"))
        shutil.copytree(template.folder / "metadata", root / "metadata")
        path = root / "metadata" / role
        before = Metadata.from_bytes(path.read_bytes())
        path.write_bytes(change(path.read_bytes()))
        try:
            seen = RepositoryClient(str(root), template.root_fingerprint).refresh()
        except SharekitError:
            return
        finally:
            shutil.rmtree(root / "home", ignore_errors=True)
        if not seen.hospitals["alpha"].problem:
            # White space in a timestamp changes nothing that is signed.
            try:
                assert Metadata.from_bytes(path.read_bytes()).signed == before.signed
            except RepositoryError:
                pytest.fail("unreadable metadata was accepted")


def test_parsers_answer_with_our_errors_when_coverage_leads_the_fuzzer(tmp_path: Path) -> None:
    """`tests/coverage_fuzz.py`, by atheris, in a process of its own."""
    pytest.importorskip("atheris", reason="atheris is not installed: it has no build for this Python")
    root = Path(__file__).parents[1]
    # A child begins with the peak of its parent's memory, which libFuzzer would take for its own.
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024 + FUZZER_MIB
    runs = (
        f"-atheris_runs={ATHERIS * RUNS}",
        "-seed=1",
        f"-rss_limit_mb={memory}",
        f"-artifact_prefix={tmp_path}/",
    )
    done = subprocess.run(
        [sys.executable, "-m", "tests.coverage_fuzz", *runs],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "SHAREKIT_HOME": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    said = done.stderr.decode(errors="replace")
    assert done.returncode == 0, said[-3000:]
    assert "Done" in said
