"""Verify a repository's metadata, lock what was withdrawn, fetch bundles, verify each with pinned keys."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consumer.repositories.client import RepositoryClient
from consumer.repositories.download import fetch
from sharekit.bundle.bundle import VerifiedBundle
from sharekit.errors import InputError, SharekitError, UsageError, VerificationError
from sharekit.program.progress import Progress, ProgressCallback, ignore
from sharekit.repository.known import (
    PulledBundle,
    Seen,
    data_sets_of,
    note_pulled,
    open_verified,
    pulled,
    refuse_withdrawn,
    remember,
)
from sharekit.repository.metadata_folder import copy_file
from sharekit.repository.release_record import Offer, Withdrawal
from sharekit.signing.encryption import decrypt
from sharekit.storage.files import sha256_of
from sharekit.trust.home import home, locked
from sharekit.trust.key_choice import public_keys

AT_ONCE = 4
"""Downloads at the same time."""


@dataclass(frozen=True)
class Locked:
    """A withdrawn release, and what this user has of it."""

    withdrawal: Withdrawal
    hospital: str
    downloaded: bool
    data_sets: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            **self.withdrawal.to_json(),
            "hospital": self.hospital,
            "downloaded": self.downloaded,
            "data_sets": list(self.data_sets),
        }


@dataclass(frozen=True)
class Pulled:
    """What a pull brought."""

    address: str
    bundles: Mapping[str, VerifiedBundle]
    """Short name of the hospital to its bundle."""
    locked: tuple[Locked, ...]
    """Every withdrawn release of the chosen hospitals."""
    refused: Mapping[str, SharekitError]
    """Hospitals of which nothing was pulled, and why."""

    def to_json(self) -> dict[str, Any]:
        return {
            "repository": self.address,
            "bundles": {name: bundle.to_json() for name, bundle in self.bundles.items()},
            "withdrawn": [one.to_json() for one in self.locked],
            "refused": {name: dict(error.to_json()) for name, error in self.refused.items()},
        }


def look(address: str, root: str | None = None) -> tuple[RepositoryClient, Seen]:
    """Fetch and verify a repository's metadata, and lock what was withdrawn; nothing else is fetched.

    Raises:
        UsageError, InputError, VerificationError: see `RepositoryClient`.
    """
    client = RepositoryClient(address, root)
    # python-tuf does not allow two updates of one folder at the same time.
    with locked(client.place / "lock"):
        seen = client.refresh()
        remember(seen)
    return client, seen


def pull(
    address: str,
    hospitals: Sequence[str],
    *,
    root: str | None = None,
    release: int | None = None,
    out: Path | None = None,
    identities: Sequence[Path] = (),
    on_progress: ProgressCallback = ignore,
) -> Pulled:
    """Fetch the newest release of each hospital, or `release` of one, and verify it with trusted keys.

    Args:
        address: https, http on this machine, or a folder.
        hospitals: short names, which are in the trust store too.
        root: see `RepositoryClient`.
        release: number of the release; None takes the newest.
        out: folder that gets a copy of each bundle; None leaves them in the cache.
        identities: files of the identities that open encrypted releases.
        on_progress: called with bytes.

    Raises:
        UsageError, InputError, VerificationError: see `RepositoryClient`; or a hospital is not trusted; or
            nothing at all could be pulled.
    """
    keys = {name: public_keys(name) for name in dict.fromkeys(hospitals)}
    client, seen = look(address, root)
    frozen = _locked_releases(seen, keys)
    bundles: dict[str, VerifiedBundle] = {}
    refused: dict[str, SharekitError] = {}
    offers = []
    for name in keys:
        try:
            offers.append(_offer(seen, name, release, frozen))
        except SharekitError as error:
            refused[name] = error
    for offer, path in _fetch_all(client, offers, on_progress).items():
        try:
            if isinstance(path, SharekitError):
                raise path
            path, sha256 = _readable(offer, path, identities)
            bundle = open_verified(path, keys[offer.name])
            _require_recorded(offer, bundle)
        except SharekitError as error:
            refused[offer.name] = error
            continue
        note_pulled(PulledBundle(offer.name, address, offer.record.release, sha256, bundle.manifest_sha256))
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            copy_file(path, out / f"{offer.name}-release-{offer.record.release}.zip")
        bundles[offer.name] = bundle
    if refused and not bundles:
        raise next(iter(refused.values()))
    return Pulled(address, bundles, frozen, refused)


def _readable(offer: Offer, path: Path, identities: Sequence[Path]) -> tuple[Path, str]:
    """A fetched bundle as a zip in the cache, decrypted if it was encrypted, and the zip's SHA-256.

    Raises:
        UsageError: it is encrypted, no identity is given, and it was not decrypted before.
        InputError, VerificationError: see `encryption.decrypt`.
    """
    if offer.record.encryption is None:
        return path, offer.sha256
    before = pulled(offer.record.manifest_sha256)
    if before is not None and before.path.is_file() and not identities:
        return before.path, before.sha256
    if not identities:
        raise UsageError(
            "--identity",
            expected=f"your identity: {offer.record.hospital} encrypted this release for its recipients",
            found="none",
            next_step="name its file, as `sharekit keys identity` wrote it before you were registered",
        )
    opened = path.with_suffix(".opened")
    with locked(home() / "locks" / opened.name):
        decrypt(path, opened, identities)
        sha256 = sha256_of(opened)
        return opened.replace(path.with_name(f"{sha256}.zip")), sha256


def fetch_sheet(client: RepositoryClient, offer: Offer) -> Path | None:
    """The contact sheet of a release, if it has one."""
    if offer.record.sheet is None:
        return None
    target = client.target(offer.record.sheet)
    return fetch(client.transport, client.url_of(target), target, home() / "sheets")


def _fetch_all(
    client: RepositoryClient, offers: Sequence[Offer], on_progress: ProgressCallback
) -> dict[Offer, Path | SharekitError]:
    """Download bundles and contact sheets, several at once; each offer's file, or why there is none."""
    total = sum(offer.length for offer in offers)
    done = dict.fromkeys((offer.path for offer in offers), 0)
    free: dict[str, int] = {}
    lock = threading.Lock()

    def note(path: str) -> Callable[[int], None]:
        def show(count: int) -> None:
            with lock:
                # What an earlier run has downloaded says nothing about the rate of this one.
                free.setdefault(path, count)
                done[path] = count
                on_progress(Progress(sum(done.values()), total, path, free=sum(free.values())))

        return show

    def bundle_and_sheet(offer: Offer) -> Path | SharekitError:
        try:
            target = targets[offer.path]
            bundle = fetch(
                client.transport, client.url_of(target), target, home() / "bundles", note(offer.path)
            )
            if offer.record.sheet is not None:
                sheet = targets[offer.record.sheet]
                fetch(client.transport, client.url_of(sheet), sheet, home() / "sheets")
        except SharekitError as error:
            return error
        return bundle

    wanted = [path for offer in offers for path in (offer.path, offer.record.sheet) if path is not None]
    targets = {path: client.target(path) for path in wanted}
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        return dict(zip(offers, pool.map(bundle_and_sheet, offers), strict=True))


def _offer(seen: Seen, name: str, release: int | None, frozen: Sequence[Locked]) -> Offer:
    """The release that is asked for.

    Raises:
        InputError: the repository has none.
        VerificationError: the hospital's metadata was refused, or the release was withdrawn.
    """
    hospital = seen.hospitals.get(name)
    if hospital is None:
        raise InputError(
            name,
            expected=f"a hospital of this repository: {', '.join(seen.hospitals) or 'it has none'}",
            found="no such name",
            next_step="check the name with `consumer catalogue REPOSITORY`",
        )
    if hospital.problem:
        raise VerificationError(
            name,
            expected="metadata of this hospital that verifies",
            found=hospital.problem,
            next_step="ask the hospital and the steward",
        )
    for offer in hospital.offers:
        if release in (None, offer.record.release):
            return offer
    for one in frozen:
        if one.hospital == name and release in (None, one.withdrawal.release):
            refuse_withdrawn(one.withdrawal.manifest_sha256, name)
    raise InputError(
        name,
        expected="a release" if release is None else f"release {release}",
        found=f"releases {', '.join(str(offer.record.release) for offer in hospital.offers) or 'none'}",
        next_step="see `consumer catalogue REPOSITORY`",
    )


def _locked_releases(seen: Seen, names: Mapping[str, object]) -> tuple[Locked, ...]:
    return tuple(
        Locked(
            one,
            name,
            (bundle := pulled(one.manifest_sha256)) is not None and bundle.path.exists(),
            tuple(data_sets_of(one.manifest_sha256)),
        )
        for name, hospital in seen.hospitals.items()
        if name in names
        for one in hospital.withdrawn
    )


def _require_recorded(offer: Offer, bundle: VerifiedBundle) -> None:
    """Refuse a bundle that is not the release that the hospital's metadata describes."""
    record, claims = offer.record, bundle.manifest
    expected = (record.manifest_sha256, record.hospital, record.release)
    found = (bundle.manifest_sha256, claims.hospital, claims.release)
    if expected != found:
        raise VerificationError(
            offer.path,
            expected=f"release {record.release} of {record.hospital}",
            found=f"release {claims.release} of {claims.hospital}",
            next_step="do not use it; tell the hospital",
        )
