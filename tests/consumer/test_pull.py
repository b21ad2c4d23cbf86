"""Pull: what a hospital signed arrives, and nothing else, whatever the server or a thief of keys tries."""

from __future__ import annotations

import contextlib
import resource
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, TargetFile, Targets, Timestamp

from consumer import open_bundle
from consumer.cli import main
from consumer.repositories.pull_releases import pull
from sharekit.errors import InputError, SharekitError, UsageError, VerificationError
from sharekit.program.progress import Progress
from sharekit.repository import steward
from sharekit.repository.known import bundle_at, freshness_of, open_verified, seen_at
from sharekit.repository.metadata_folder import KeySigner, tuf_key
from sharekit.signing.keys import PublicKey, SigningKey, generate
from sharekit.trust.home import home, made
from sharekit.trust.key_choice import public_keys
from sharekit.trust.trust_store import TrustedHospital, TrustedKey, TrustStore
from tests.repository_world import Handler, Server, World, now, serve

A, B = "alpha", "beta"
GOLDEN = Path(__file__).parent / "golden" / "repository-1"


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHAREKIT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHAREKIT_HOME", str(root / "home"))
        yield World.make(root, A)


@pytest.fixture
def world(template: World, tmp_path: Path, own_home: Path) -> World:
    return template.copied(tmp_path, own_home)


@pytest.fixture
def server(world: World) -> Iterator[Server]:
    with serve(world.folder) as running:
        yield running


def refusal(world: World, server: Server, *names: str) -> SharekitError:
    with pytest.raises((VerificationError, InputError)) as caught:
        world.pull(*(names or (A,)), address=server.address)
    return caught.value


def test_a_pulled_bundle_is_the_hospitals_and_current(world: World, server: Server) -> None:
    found = world.pull(A, address=server.address).bundles[A]
    assert (found.manifest.hospital, found.manifest.release) == ("Hospital alpha", 1)
    assert (found.verdict, found.freshness) == ("authentic and current", "current")
    assert found.to_json()["verdict"] == "authentic and current"
    assert len(list(open_bundle(A).sample(2))) == 2


def test_a_folder_is_a_repository_too(world: World) -> None:
    assert world.pull(A).bundles[A].manifest.release == 1


@pytest.mark.parametrize("address", ["http://192.0.2.1/x", "ftp://127.0.0.1/x", "/no/such/folder"])
def test_other_addresses_are_refused_before_anybody_is_asked(world: World, address: str) -> None:
    with pytest.raises(UsageError):
        world.pull(A, address=address)


def test_a_redirection_is_not_followed(world: World, server: Server) -> None:
    elsewhere = {"Location": f"{server.address}/metadata/1.root.json"}
    server.rules.append(("timestamp", lambda handler, _: handler.answer(b"", 302, elsewhere)))
    assert "302" in refusal(world, server).found


def test_the_first_pull_needs_the_roots_fingerprint(world: World) -> None:
    with pytest.raises(UsageError, match="--root"):
        pull(str(world.folder), [A])
    with pytest.raises(VerificationError, match="fingerprint"):
        pull(str(world.folder), [A], root="0" * 64)
    world.pull(A)
    assert pull(str(world.folder), [A]).bundles


def test_a_hospital_without_a_trusted_key_is_not_pulled(world: World) -> None:
    world.admit("gamma")
    (home() / "trust" / "gamma.json").unlink()
    with pytest.raises(InputError, match="sharekit trust add gamma"):
        world.pull("gamma")


# -- attacks on targets


def test_a_tampered_target_is_refused_and_not_kept(world: World, server: Server) -> None:
    server.rules.append(("release-1.zip", lambda handler, data: handler.answer(b"\0" + data[1:])))
    assert "digest" in refusal(world, server).expected
    assert list((home() / "bundles").glob("*.zip*")) == []


def test_a_truncated_target_is_refused_and_goes_on_later(world: World, server: Server) -> None:
    server.rules.append(("release-1.zip", lambda handler, data: handler.answer(data[:500])))
    refusal(world, server)
    server.rules.clear()
    assert world.pull(A, address=server.address).bundles


def test_an_endless_target_is_cut_off_at_the_signed_length(world: World, server: Server) -> None:
    sent: list[int] = []

    def endless(handler: Handler, _: bytes) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.close_connection = True
        try:
            for _ in range(10_000):
                handler.wfile.write(bytes(2**16))
                sent.append(2**16)
        except OSError:
            return

    server.rules.append(("release-1.zip", endless))
    assert refusal(world, server).found == "more"
    assert sum(sent) < 64 * 2**20


def test_endless_metadata_is_cut_off(world: World, server: Server) -> None:
    server.rules.append(("timestamp", lambda handler, data: handler.answer(data + b" " * 2**20)))
    assert "longer" in refusal(world, server).found


def test_an_older_bundle_in_the_place_of_the_newest_is_refused(world: World, server: Server) -> None:
    old = next((world.folder / "targets" / A).glob("*.release-1.zip")).read_bytes()
    world.publish(A, 2)
    world.refresh()
    server.rules.append(("release-2.zip", lambda handler, _: handler.answer(old)))
    refusal(world, server)


# -- attacks on metadata


def test_a_rollback_of_the_timestamp_is_refused(world: World, server: Server) -> None:
    old = (world.folder / "metadata" / "timestamp.json").read_bytes()
    world.refresh()
    world.pull(A, address=server.address)
    (world.folder / "metadata" / "timestamp.json").write_bytes(old)
    assert "version" in refusal(world, server).found


def test_a_rollback_of_a_hospitals_metadata_is_refused(world: World, server: Server) -> None:
    world.publish(A, 2)
    world.refresh()
    world.pull(A, address=server.address)
    # Whoever holds the online key alone shows the hospital's older metadata in a newer snapshot.
    world.store.path(A, 2).unlink()
    world.sneak(A)
    assert "alpha.json version" in refusal(world, server).found


def test_a_freeze_is_noticed_when_the_timestamp_expires(world: World, server: Server) -> None:
    world.refresh(now=now() - timedelta(days=10))
    assert "expired" in refusal(world, server).found


def test_a_mix_of_old_and_new_metadata_is_refused(world: World, server: Server) -> None:
    old = world.store.path("snapshot", world.store.versions("snapshot")[-1]).read_bytes()
    world.publish(A, 2)
    world.refresh()
    server.rules.append((r"snapshot\.json", lambda handler, _: handler.answer(old)))
    refusal(world, server)


def test_metadata_signed_with_a_wrong_key_is_refused(world: World, server: Server) -> None:
    world.resign("timestamp", lambda signed: None, generate())
    assert "signatures" in refusal(world, server).expected


def test_a_bundle_signed_with_another_key_than_the_trusted_is_refused(world: World, server: Server) -> None:
    hospital = world.hospitals[A]
    hospital.release_key = generate()
    world.publish(A, 2)
    world.refresh()
    assert "pinned key" in refusal(world, server).expected


def test_one_person_alone_publishes_nothing(world: World, server: Server) -> None:
    world.publish(A, 2, people=1)
    world.refresh()
    assert world.pull(A, address=server.address).bundles[A].manifest.release == 1
    assert (world.folder / "staged" / f"{A}.json").is_file()


def test_metadata_below_the_threshold_is_refused(world: World, server: Server) -> None:
    world.resign(A, lambda targets: None, world.hospitals[A].people[0])
    world.sneak(A)
    assert "signatures" in refusal(world, server).found


def test_a_refresh_leaves_out_what_too_few_have_signed(world: World) -> None:
    world.resign(A, lambda targets: None, world.hospitals[A].people[0])
    assert A in world.refresh().refused


def test_a_rotated_root_is_followed_and_the_old_keys_no_longer_count(world: World, server: Server) -> None:
    world.pull(A, address=server.address)
    new = [generate() for _ in range(3)]
    staged = steward.rotate(world.folder, [key.public for key in new], None, [world.roots[0], new[0]])
    assert not staged.complete
    (done,) = steward.sign(world.folder, [world.roots[1], new[1]])
    assert done.complete
    (resigned,) = steward.renew_targets(world.folder, new[:2])
    assert resigned.complete
    world.refresh()
    assert world.pull(A, address=server.address).bundles
    with pytest.raises(VerificationError):
        steward.add_hospital(world.folder, B, "B", [generate().public, generate().public], world.roots[:2])


def test_a_root_that_the_old_holders_did_not_sign_is_refused(world: World, server: Server) -> None:
    world.pull(A, address=server.address)
    thief = [generate() for _ in range(3)]
    path = world.store.path("root", 1)
    metadata: Metadata = Metadata.from_bytes(path.read_bytes())
    metadata.signed.version = 2
    for keyid in list(metadata.signed.roles["root"].keyids):
        metadata.signed.revoke_key(keyid, "root")
    for key in thief:
        metadata.signed.add_key(tuf_key(key.public), "root")
    metadata.signatures.clear()
    for key in thief:
        metadata.sign(KeySigner(key), append=True)
    world.store.path("root", 2).write_bytes(metadata.to_bytes())
    assert "signatures" in refusal(world, server).expected


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", A])
def test_expired_metadata_of_any_role_is_refused(world: World, server: Server, role: str) -> None:
    def expire(signed: Targets) -> None:
        signed.expires = now() - timedelta(days=1)

    keys: dict[str, list[SigningKey]] = {
        "root": world.roots,
        "targets": world.roots,
        "snapshot": [world.online],
        A: list(world.hospitals[A].people),
    }
    if role == "root":
        steward.rotate(world.folder, [], None, world.roots[:2])
    if role == "snapshot":
        world.refresh(now=now() - timedelta(days=20), days=19)
    else:
        world.resign(role, expire, *keys[role])
        if role != "root":
            world.sneak(role)
    error = refusal(world, server)
    assert "expired" in error.found


def test_a_path_of_another_hospital_is_not_served(tmp_path: Path, own_home: Path) -> None:
    """Hospital A lists a file below B's folder: B's own metadata decides about it."""
    world = World.make(tmp_path, A, B)
    stolen = world.target(B, 7)
    world.change(A, lambda targets: targets.targets.update({stolen.path: stolen}))
    assert A in world.refresh().refused
    world.sneak(A)
    with serve(world.folder) as server:
        assert f"{B}/release-7.zip" in refusal(world, server, A).found
        assert world.pull(B, address=server.address).bundles[B].manifest.release == 1
        with pytest.raises(InputError):
            world.pull(B, address=server.address, release=7)


def test_a_bundle_in_the_name_of_another_hospital_is_refused(tmp_path: Path, own_home: Path) -> None:
    world = World.make(tmp_path, A, B)
    world.hospitals[A].label = world.hospitals[B].label
    world.publish(A, 2)
    world.refresh()
    with serve(world.folder) as server:
        assert "a release of Hospital alpha" in refusal(world, server, A).found


def test_a_fast_forward_is_recovered_from_by_new_online_keys(world: World, server: Server) -> None:
    def far(signed: Timestamp) -> None:
        signed.version = 2**31

    world.resign("timestamp", far, world.online)
    world.pull(A, address=server.address)
    # The thief's version stays the newest for every client, until the root names another online key.
    world.refresh_from_scratch()
    refusal(world, server)
    old, world.online = world.online, generate()
    assert steward.rotate(world.folder, [], world.online.public, world.roots[:2]).complete
    world.refresh_from_scratch()
    assert world.pull(A, address=server.address).bundles
    world.resign("timestamp", lambda signed: None, old)
    refusal(world, server)


# -- faults


def test_an_interrupted_download_goes_on_where_it_stopped(world: World, server: Server) -> None:
    def stops(handler: Handler, data: bytes) -> None:
        handler.answer(data[:1000], length=len(data))

    server.rules.append(("release-1.zip", stops))
    assert "goes on" in refusal(world, server).next_step
    (part,) = (home() / "bundles").glob("*.part")
    assert part.stat().st_size == 1000
    server.rules.clear()
    seen: list[Progress] = []
    assert world.pull(A, address=server.address, on_progress=seen.append).bundles
    assert ("bytes=1000-") in [asked for path, asked in server.asked if "release-1.zip" in path]
    assert seen[-1].done == seen[-1].total


def test_a_damaged_part_is_thrown_away_and_loaded_again(world: World, server: Server) -> None:
    length = next((world.folder / "targets" / A).glob("*.zip")).stat().st_size
    digest = next((world.folder / "targets" / A).glob("*.zip")).name.partition(".")[0]
    (home() / "bundles").mkdir(parents=True)
    (home() / "bundles" / f"{digest}.zip.part").write_bytes(bytes(length // 2))
    assert world.pull(A, address=server.address).bundles


def test_a_server_without_ranges_sends_everything_again(world: World, server: Server) -> None:
    digest = next((world.folder / "targets" / A).glob("*.zip")).name.partition(".")[0]
    (home() / "bundles").mkdir(parents=True)
    (home() / "bundles" / f"{digest}.zip.part").write_bytes(b"PK")
    server.rules.append(("release-1.zip", lambda handler, data: handler.answer(data)))
    assert world.pull(A, address=server.address).bundles


def test_a_server_that_goes_away_is_said_so(world: World) -> None:
    with serve(world.folder) as server:
        address = server.address
        world.pull(A, address=address)
    with pytest.raises(InputError, match="address and the network"):
        world.pull(A, address=address)


def test_a_clock_that_was_set_back_is_noticed(world: World, server: Server) -> None:
    world.refresh(now=now() + timedelta(hours=5))
    assert "clock is wrong" in refusal(world, server).found


def test_a_clock_that_was_set_forward_is_named(world: World, server: Server) -> None:
    world.refresh(now=now() - timedelta(days=3))
    assert "check the clock" in refusal(world, server).next_step
    world.refresh()
    assert world.pull(A, address=server.address).bundles


@contextlib.contextmanager
def file_limit(folder: Path) -> Iterator[None]:
    """Let this process write no file of more than 10,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Put a file system of 12,288 bytes at `folder`; its content stays when it is taken away."""
    options = ["-t", "tmpfs", "-o", "size=12k,mode=700", "tmpfs", str(folder)]
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a small file system")
    try:
        yield
    finally:
        kept = {path.name: path.read_bytes() for path in folder.iterdir()}
        subprocess.run(["umount", str(folder)], check=True)
        for name, data in kept.items():
            (folder / name).write_bytes(data)


@pytest.mark.parametrize("obstacle", [file_limit, small_disk])
def test_a_full_disk_is_named_and_the_pull_goes_on_once_there_is_room(
    world: World,
    server: Server,
    obstacle: Callable[[Path], contextlib.AbstractContextManager[None]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundles = made(home() / "bundles")
    command = ["pull", server.address, "--root", world.root_fingerprint, "--hospital", A]
    with obstacle(bundles):
        assert main(command) == InputError.exit_code
    said = capsys.readouterr().err
    assert str(bundles) in said
    assert "Traceback" not in said
    assert list(bundles.glob("*.zip")) == []
    assert main(command) == 0
    assert [asked for path, asked in server.asked if "release-1.zip" in path][-1] is not None


def test_a_poisoned_cache_is_replaced(world: World, server: Server) -> None:
    path = world.pull(A, address=server.address).bundles[A].path
    path.write_bytes(b"poison" + path.read_bytes()[6:])
    with pytest.raises(VerificationError):
        open_bundle(A)
    assert world.pull(A, address=server.address).bundles
    assert open_bundle(A).generators


def test_a_cached_bundle_is_not_downloaded_again(world: World, server: Server) -> None:
    world.pull(A, address=server.address)
    server.asked.clear()
    world.pull(A, address=server.address)
    assert [path for path, _ in server.asked if "/targets/" in path] == []


def test_two_pulls_at_once_download_once(world: World, server: Server) -> None:
    found: list[object] = []

    def run() -> None:
        try:
            found.append(world.pull(A, address=server.address).bundles[A].path)
        except SharekitError as error:
            found.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1, found
    assert len([path for path, _ in server.asked if "release-1.zip" in path]) == 1


# -- withdrawal


def test_a_withdrawn_bundle_locks_with_the_reason_and_names_the_data_sets(
    world: World, server: Server, tmp_path: Path
) -> None:
    path = world.pull(A, address=server.address).bundles[A].path
    copy = shutil.copy(path, tmp_path / "copy.zip")
    assert (
        main(
            ["sample", A, "--threads", "1", "--samples", "2", "--seed", "1", "--out", str(tmp_path / "drawn")]
        )
        == 0
    )
    world.withdraw(A, 1, "a patient took back consent")
    error = refusal(world, server)
    assert "a patient took back consent" in error.found
    assert str(tmp_path / "drawn") in error.next_step
    for bundle in (path, copy):
        with pytest.raises(VerificationError, match="a patient took back consent"):
            open_bundle(bundle, A)
    with pytest.raises(VerificationError, match="consent"):
        bundle_at(Path(A))
    seen = seen_at(server.address)
    assert seen is not None
    assert [one.release for one in seen.hospitals[A].withdrawn] == [1]
    assert list((world.folder / "targets" / A).glob("*.zip")) == []


def test_the_steward_can_withdraw_too(world: World, server: Server) -> None:
    world.pull(A, address=server.address)
    assert steward.withdraw(world.folder, A, 1, "the hospital asked by telephone", world.roots[:2]).complete
    world.refresh()
    assert "by telephone" in refusal(world, server).found


def test_a_newer_release_supersedes(world: World, server: Server) -> None:
    path = world.pull(A, address=server.address).bundles[A].path
    world.publish(A, 2)
    world.refresh()
    assert world.pull(A, address=server.address).bundles[A].manifest.release == 2
    old = open_verified(path, public_keys(A))
    assert (old.verdict, old.freshness) == ("authentic", "superseded")


def test_freshness_ends_with_the_timestamp(world: World, server: Server) -> None:
    digest = world.pull(A, address=server.address).bundles[A].manifest_sha256
    assert freshness_of(digest, now()) == "current"
    assert freshness_of(digest, now() + timedelta(days=3)) == "unknown"
    assert freshness_of(digest, now() - timedelta(days=3)) == "unknown"


def test_several_hospitals_come_at_once_and_one_that_fails_does_not_stop_the_others(
    tmp_path: Path, own_home: Path
) -> None:
    world = World.make(tmp_path, A, B)
    with serve(world.folder) as server:
        assert set(world.pull(A, B, address=server.address).bundles) == {A, B}
        world.withdraw(B, 1, "wrong masks")
        found = world.pull(A, B, address=server.address)
    assert set(found.bundles) == {A}
    assert "wrong masks" in found.refused[B].found
    assert [one.withdrawal.reason for one in found.locked] == ["wrong masks"]


def test_a_target_without_a_record_is_refused(world: World, server: Server) -> None:
    def without(targets: Targets) -> None:
        for target in targets.targets.values():
            target.unrecognized_fields.clear()

    world.change(A, without)
    assert A in world.refresh().refused
    world.sneak(A)
    assert isinstance(refusal(world, server), VerificationError)


def test_the_first_root_is_the_whole_trust(world: World) -> None:
    """A copy of the repository at another address is another repository, with its own first root."""
    copy = shutil.copytree(world.folder, world.scratch / "copy")
    world.pull(A)
    with pytest.raises(UsageError, match="--root"):
        pull(str(copy), [A])


def test_tuf_needs_every_target_to_have_its_digest(world: World) -> None:
    found = world.store.newest(A)
    assert found is not None
    assert all(
        isinstance(one, TargetFile) and "sha256" in one.hashes for one in found.signed.targets.values()
    )


# -- repositories of every released form


def test_the_golden_repository_stays_readable(own_home: Path) -> None:
    """Written by the first version; its bundle, records, withdrawal and page still mean the same."""
    key = PublicKey.load(GOLDEN / "north.pub")
    trusted = TrustedKey(key, now() - timedelta(days=1), now() + timedelta(days=1), "fingerprint given")
    TrustStore().save(TrustedHospital("north", (trusted,)))
    root = "084d082e4487a61cc94210996d6048cde1374a78baa25fa11a175dcc79203e05"
    found = pull(str(GOLDEN), ["north"], root=root)
    assert (found.bundles["north"].manifest.release, found.bundles["north"].freshness) == (2, "current")
    (locked,) = found.locked
    assert (locked.withdrawal.release, locked.withdrawal.reason) == (1, "a patient took back consent")
