"""The verified view of a repository: python-tuf's client over our transport, and its errors in our words."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    SlowRetrievalError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata, TargetFile, Targets, Timestamp
from tuf.ngclient import Updater, UpdaterConfig

from consumer.repositories.transport import Transport
from sharekit.errors import InputError, SharekitError, UsageError, VerificationError
from sharekit.repository.known import Seen, SeenHospital, place_of
from sharekit.repository.offers import offers_of, withdrawn_by
from sharekit.storage import files
from sharekit.trust.home import made
from sharekit.trust.trust_store import NAME, parse_time

CLOCK_TOLERANCE = timedelta(minutes=10)
CREATED = "x-sharekit-created"
MAX_ROOT_BYTES = 512_000
FINGERPRINT = re.compile(r"[0-9a-f]{64}")
CONFIG = UpdaterConfig(root_max_length=MAX_ROOT_BYTES)


class RepositoryClient:
    """One repository, from the root metadata that the user trusts to the releases of each hospital."""

    def __init__(self, address: str, root: str | None = None) -> None:
        """Open a repository.

        Args:
            address: see `Transport`.
            root: for the first time, the root metadata's file or its fingerprint, confirmed over another way
                than the repository; None afterwards.

        Raises:
            UsageError: the address is of another kind, or the root is not known yet.
            VerificationError: the repository's first root has another fingerprint.
        """
        self.address = address
        self.transport = Transport(address)
        self.place = made(place_of(address))
        self._bootstrap = self._trusted_root(root)

    def refresh(self) -> Seen:
        """Fetch and verify the metadata of the repository and of all its hospitals.

        Nothing is remembered of a hospital whose metadata does not verify, except why.

        Raises:
            VerificationError: the repository's metadata does not verify, has expired, or goes back in time.
            InputError: the server cannot be reached.
        """
        now = datetime.now(UTC)
        with faults(self.address):
            self.updater = Updater(
                str(made(self.place / "metadata")),
                f"{self.transport.base}metadata/",
                fetcher=self.transport,
                config=CONFIG,
                bootstrap=self._bootstrap,
            )
            self.updater.refresh()
            timestamp = self._verified("timestamp", Timestamp)
            top = self._verified("targets", Targets)
        signed = _signed_time(timestamp, self.address)
        if now < signed - CLOCK_TOLERANCE:
            raise VerificationError(
                self.address,
                expected=f"a clock that shows at least {signed:%Y-%m-%d %H:%M} UTC, when it was signed",
                found=f"{now:%Y-%m-%d %H:%M} UTC: this machine's clock is wrong",
                next_step="set the clock, and pull again",
            )
        roles = (top.delegations.roles if top.delegations else None) or {}
        labels = {
            name: str(role.unrecognized_fields.get("x-sharekit-hospital", name))
            for name, role in roles.items()
            if NAME.fullmatch(name)
        }
        hospitals = {name: self._hospital(name, label, top) for name, label in labels.items()}
        return Seen(self.address, now.replace(microsecond=0), timestamp.expires, signed, hospitals)

    def target(self, path: str) -> TargetFile:
        """What the hospital has signed about a file.

        Raises:
            VerificationError: the hospital that owns the path does not offer it.
        """
        with faults(self.address):
            found = self.updater.get_targetinfo(path)
        if found is None:
            raise VerificationError(
                path,
                expected="a file that its hospital offers",
                found="none of that name in its metadata",
                next_step="do not use it; tell the repository's steward",
            )
        return found

    def url_of(self, target: TargetFile) -> str:
        """Where the server has a target: under a name that begins with its digest."""
        return f"{self.transport.base}targets/{quote(target.get_prefixed_paths()[0])}"

    def _hospital(self, name: str, label: str, top: Targets) -> SeenHospital:
        withdrawn = withdrawn_by(top, name)
        try:
            with faults(f"{self.address}: {name}"):
                # Any path of the hospital makes python-tuf fetch and verify its metadata.
                self.updater.get_targetinfo(f"{name}/-")
                targets = self._verified(name, Targets)
            withdrawn += withdrawn_by(targets, name)
            role: Any = top.get_delegated_role(name)
            for path in targets.targets:
                _require_own(path, role.is_delegated_path(path), f"a file in the folder of {label}")
            offers = offers_of(name, targets)
            for offer in offers:
                _require_own(offer.path, offer.record.hospital == label, f"a release of {label}")
        except SharekitError as error:
            return SeenHospital(label, (), tuple(withdrawn), f"{error.found}; needed: {error.expected}")
        gone = {one.manifest_sha256 for one in withdrawn}
        standing = tuple(offer for offer in offers if offer.record.manifest_sha256 not in gone)
        return SeenHospital(label, standing, tuple(withdrawn))

    def _verified(self, role: str, kind: type[Any]) -> Any:
        """A role's metadata as the updater has verified and stored it just now."""
        path = self.place / "metadata" / f"{role}.json"
        if not path.is_file():
            raise RepositoryError(f"{role} has published nothing yet")
        metadata: Metadata[Any] = Metadata.from_bytes(path.read_bytes())
        if not isinstance(metadata.signed, kind):
            raise RepositoryError(f"{role} is of another type")
        return metadata.signed

    def _trusted_root(self, root: str | None) -> bytes:
        """The first root that the user trusts; stored at the first time."""
        path = self.place / "trusted-root.json"
        stored = files.read_bytes(path, max_bytes=MAX_ROOT_BYTES) if path.is_file() else None
        if root is None:
            if stored is None:
                raise UsageError(
                    "--root",
                    expected="the repository's root, since it was never pulled from before",
                    found="no option",
                    next_step="give --root HEX, as the steward gave it over another way, or a file",
                )
            return stored
        if FINGERPRINT.fullmatch(root):
            with faults(self.address):
                data = self.transport.download_bytes(
                    f"{self.transport.base}metadata/1.root.json", MAX_ROOT_BYTES
                )
            found = hashlib.sha256(data).hexdigest()
            if found != root:
                raise VerificationError(
                    self.address,
                    expected=f"a first root with the fingerprint {root}",
                    found=found,
                    next_step="do not pull; confirm address and fingerprint with the steward",
                )
        else:
            data = files.read_bytes(Path(root), max_bytes=MAX_ROOT_BYTES)
        if stored is not None and stored != data:
            raise VerificationError(
                self.address,
                expected=f"the root that is trusted already: {hashlib.sha256(stored).hexdigest()}",
                found=hashlib.sha256(data).hexdigest(),
                next_step=f"leave out --root; if the repository was made again, remove {self.place}",
            )
        with faults(self.address):
            Metadata.from_bytes(data)
        files.write_bytes(path, data, mode=0o600)
        return data


def _require_own(path: str, own: bool, expected: str) -> None:
    if not own:
        raise VerificationError(
            path,
            expected=expected,
            found=f"another hospital's: {path}",
            next_step="do not use it; tell the repository's steward",
        )


def _signed_time(timestamp: Timestamp, address: str) -> datetime:
    try:
        return parse_time(timestamp.unrecognized_fields[CREATED])
    except (KeyError, TypeError, ValueError):
        raise VerificationError(
            address,
            expected=f"a timestamp with {CREATED}",
            found="none",
            next_step="let its steward give `sharekit repository refresh`",
        ) from None


@contextlib.contextmanager
def faults(item: str) -> Iterator[None]:
    """Turn the errors of python-tuf inside the block into ours."""
    try:
        yield
    except DownloadLengthMismatchError:
        raise _refusal(item, "a file of the signed length", "a longer one") from None
    except DownloadHTTPError as error:
        raise _unreachable(item, f"{error}") from None
    except SlowRetrievalError as error:
        raise _unreachable(item, f"{error}" or "no answer in time") from None
    except DownloadError as error:
        raise _unreachable(item, f"{error.__cause__ or error}"[:300]) from None
    except ExpiredMetadataError as error:
        raise _refusal(
            item,
            "metadata that has not expired",
            f"{error}, by this machine's clock ({datetime.now(UTC):%Y-%m-%d %H:%M} UTC)",
            "check the clock; if it is right, ask the steward for `sharekit repository refresh`",
        ) from None
    except BadVersionNumberError as error:
        raise _refusal(item, "metadata at least as new as the last that was seen", f"{error}") from None
    except LengthOrHashMismatchError as error:
        raise _refusal(item, "a file with the signed length and digest", f"{error}") from None
    except UnsignedMetadataError as error:
        raise _refusal(item, "enough signatures by trusted keys", f"{error}") from None
    except RepositoryError as error:
        raise _refusal(item, "valid metadata of The Update Framework", f"{error}"[:300]) from None


def _refusal(item: str, expected: str, found: str, next_step: str = "") -> VerificationError:
    return VerificationError(
        item,
        expected=expected,
        found=found,
        next_step=next_step or "do not use it; tell the repository's steward",
    )


def _unreachable(item: str, found: str) -> InputError:
    return InputError(
        item,
        expected="a repository that answers",
        found=found,
        next_step="check the address and the network; the same command goes on where it stopped",
    )
