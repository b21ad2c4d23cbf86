"""Fuzzers: whatever bytes arrive, a parser answers with our own error, and changed bytes never verify.

`make fuzz` sets `SHAREKIT_FUZZ_RUNS` to the number of runs of each; the everyday run takes a few.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

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
from sharekit.storage import files
from sharekit.trust.handover import Handover
from tests.repository_world import World
from tests.sharekit.bundles import small_bundle, tiny_onnx

RUNS = int(os.environ.get("SHAREKIT_FUZZ_RUNS", "15"))
FUZZ = settings(
    max_examples=RUNS,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
KEY = generate()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


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
