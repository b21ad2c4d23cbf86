"""A repository with hospitals, small real bundles and a real web server on loopback, made in a second."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata, TargetFile, Targets

from consumer.repositories.pull_releases import Pulled, pull
from sharekit.bundle.bundle import VerifiedBundle
from sharekit.repository import steward
from sharekit.repository.metadata_folder import KeySigner, MetadataFolder, Staged
from sharekit.repository.release_record import (
    CUSTOM,
    WITHDRAWN,
    ReleaseRecord,
    Withdrawal,
    bundle_path,
)
from sharekit.signing.keys import SigningKey, generate
from sharekit.trust.trust_store import TrustedHospital, TrustedKey, TrustStore
from tests.sharekit.bundles import small_bundle

YEAR = timedelta(days=365)
Answer = Callable[["Handler", bytes], None]


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@dataclass
class Hospital:
    name: str
    label: str
    people: tuple[SigningKey, SigningKey]
    release_key: SigningKey


@dataclass
class World:
    """A steward, hospitals and a consumer who trusts them; `SHAREKIT_HOME` is the consumer's."""

    folder: Path
    scratch: Path
    roots: list[SigningKey] = field(default_factory=lambda: [generate() for _ in range(3)])
    online: SigningKey = field(default_factory=generate)
    hospitals: dict[str, Hospital] = field(default_factory=dict)
    root_fingerprint: str = ""

    @staticmethod
    def make(root: Path, *names: str) -> World:
        """A repository in which each hospital offers release 1."""
        world = World(root / "repository", root / "scratch")
        world.scratch.mkdir()
        made = steward.init(world.folder, [key.public for key in world.roots], world.roots[:2], world.online)
        world.root_fingerprint = made.root_fingerprint
        for name in names:
            world.admit(name)
            world.publish(name, 1)
        world.refresh()
        return world

    def copied(self, root: Path, home: Path) -> World:
        """The same world in another place, with its consumer's home."""
        shutil.copytree(self.folder, root / "repository")
        shutil.copytree(self.scratch, root / "scratch")
        shutil.copytree(self.folder.parent / "home" / "trust", home / "trust")
        return dataclasses.replace(
            self,
            folder=root / "repository",
            scratch=root / "scratch",
            hospitals={name: dataclasses.replace(one) for name, one in self.hospitals.items()},
        )

    @property
    def store(self) -> MetadataFolder:
        return MetadataFolder(self.folder)

    def admit(self, name: str) -> Hospital:
        """A hospital in the repository and in the consumer's trust store."""
        hospital = Hospital(name, f"Hospital {name}", (generate(), generate()), generate())
        self.hospitals[name] = hospital
        publics = [key.public for key in hospital.people]
        steward.add_hospital(self.folder, name, hospital.label, publics, self.roots[:2])
        self.trust(hospital)
        return hospital

    def trust(self, hospital: Hospital) -> None:
        key = TrustedKey(hospital.release_key.public, now() - YEAR, now() + YEAR, "fingerprint given")
        TrustStore().save(TrustedHospital(hospital.name, (key,)))

    def bundle(self, name: str, release: int, **options: Any) -> VerifiedBundle:
        """A signed bundle of the hospital, as a zip outside the repository."""
        hospital = self.hospitals[name]
        path = self.scratch / f"{name}-{release}.zip"
        path.unlink(missing_ok=True)
        return small_bundle(path, hospital.release_key, hospital=hospital.label, release=release, **options)

    def target(self, name: str, release: int, path: Path | None = None) -> TargetFile:
        """A bundle's target with its record."""
        bundle = self.bundle(name, release)
        found = TargetFile.from_file(bundle_path(name, release), str(path or bundle.path), ["sha256"])
        claims = bundle.manifest
        record = ReleaseRecord(
            claims.hospital,
            release,
            claims.created.strftime("%Y-%m-%dT%H:%M:%SZ"),
            claims.expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            bundle.manifest_sha256,
            bundle.fingerprint,
            "colonoscopy",
            "CC-BY-4.0",
            ("rgb: lesion",),
            len(claims.generators),
            2,
            ("linkable: controlled access",),
        )
        found.unrecognized_fields["custom"] = {CUSTOM: record.to_json()}
        return found

    def publish(self, name: str, release: int, people: int = 2) -> TargetFile:
        """Offer a release, signed by so many of the hospital's people; the next refresh shows it."""
        target = self.target(name, release)
        self.store.add_target(target, self.scratch / f"{name}-{release}.zip")
        self.change(name, lambda targets: targets.targets.update({target.path: target}), people)
        return target

    def change(self, name: str, edit: Callable[[Targets], Any], people: int = 2) -> Staged:
        keys = self.hospitals[name].people[:people]
        return self.store.change(name, lambda: Targets(expires=now()), lambda t: edit(t), keys, YEAR, now())

    def withdraw(self, name: str, release: int, reason: str) -> None:
        """The hospital withdraws a release and the steward refreshes."""
        path = bundle_path(name, release)
        offered = self.store.newest(name)
        assert offered is not None
        manifest = offered.signed.targets[path].custom[CUSTOM]["manifest_sha256"]
        gone = Withdrawal(release, manifest, reason, now().strftime("%Y-%m-%dT%H:%M:%SZ"), name)

        def edit(targets: Targets) -> None:
            targets.targets.pop(path, None)
            targets.unrecognized_fields.setdefault(WITHDRAWN, {})[path] = gone.to_json()

        self.change(name, edit)
        self.refresh()

    def refresh(self, **options: Any) -> steward.Refreshed:
        return steward.refresh(self.folder, self.online, **options)

    def resign(self, role: str, edit: Callable[[Any], None], *keys: SigningKey) -> None:
        """Change complete metadata in place and sign it with these keys alone, as a thief of them can."""
        path = (
            self.folder / "metadata" / "timestamp.json"
            if role == "timestamp"
            else self.store.path(role, self.store.versions(role)[-1])
        )
        metadata: Metadata[Any] = Metadata.from_bytes(path.read_bytes())
        edit(metadata.signed)
        metadata.signatures.clear()
        for key in keys:
            metadata.sign(KeySigner(key), append=True)
        path.write_bytes(metadata.to_bytes())

    def sneak(self, role: str) -> None:
        """Put any metadata into a new snapshot, as a thief of the online key can."""
        version = self.store.versions(role)[-1]
        snapshot, timestamp = self.store.snapshot(), self.store.timestamp()
        assert snapshot is not None
        assert timestamp is not None
        snapshot.version += 1
        snapshot.meta[f"{role}.json"] = steward.meta_file(self.store.path(role, version), version)
        path = self.store.path("snapshot", snapshot.version)
        steward.write_online(path, snapshot, self.online)
        timestamp.version += 1
        timestamp.snapshot_meta = steward.meta_file(path, snapshot.version)
        steward.write_online(self.folder / "metadata" / "timestamp.json", timestamp, self.online)

    def refresh_from_scratch(self) -> None:
        """Write snapshot and timestamp as if there had been none, from version 1 on."""
        (self.folder / "metadata" / "timestamp.json").unlink()
        for version in self.store.versions("snapshot"):
            self.store.path("snapshot", version).unlink()
        self.refresh()

    def pull(self, *names: str, address: str = "", **options: Any) -> Pulled:
        return pull(address or str(self.folder), names, root=self.root_fingerprint, **options)


class Handler(BaseHTTPRequestHandler):
    """Serves a folder with ranges; a rule for a path may answer in its own way."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Range")))
        file = self.server.folder / self.path.lstrip("/")
        for pattern, answer in self.server.rules:
            if re.search(pattern, self.path):
                answer(self, file.read_bytes() if file.is_file() else b"")
                return
        if not file.is_file():
            self.answer(b"no such file", 404)
            return
        data = file.read_bytes()
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if found is None:
            self.answer(data)
        else:
            start = int(found[1])
            self.answer(data[start:], 206, {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"})

    def answer(
        self, data: bytes, status: int = 200, headers: dict[str, str] | None = None, length: int | None = None
    ) -> None:
        """Send `data` under a length, which may be a lie."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(data)
        if length is not None:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


class Server(ThreadingHTTPServer):
    """A web server on a free port of loopback."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.rules: list[tuple[str, Answer]] = []
        self.asked: list[tuple[str, str | None]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """A client that leaves is no news."""


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """A running server."""
    server = Server(folder)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
