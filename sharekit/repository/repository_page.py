"""`index.html` next to the metadata: a person sees what is offered, and how to verify it.

The page is unsigned, like any web page; it says so, and gives the commands that verify.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sharekit.page.shell import Embedded, render
from sharekit.program.phrases import command_line
from sharekit.repository.metadata_folder import MetadataFolder
from sharekit.repository.offers import offers_of, withdrawn_by
from sharekit.repository.release_record import Offer, Withdrawal
from sharekit.repository.steward import root_fingerprint
from sharekit.storage import files

MAX_SHEET_BYTES = 4 * 2**20
PAGE = "index.html"


@dataclass(frozen=True)
class Card:
    """One release on the page."""

    offer: Offer
    sheet: Embedded | None
    commands: tuple[str, ...]


@dataclass(frozen=True)
class HospitalSection:
    """One hospital on the page."""

    name: str
    label: str
    cards: tuple[Card, ...]
    withdrawn: tuple[Withdrawal, ...]


@dataclass(frozen=True)
class RepositoryPage:
    """The values of the page."""

    address: str
    root_fingerprint: str
    expires: str
    hospitals: tuple[HospitalSection, ...]

    @property
    def contents(self) -> list[tuple[str, str]]:
        """Anchor and title of each section."""
        return [("verify", "How to verify"), *((one.name, one.label) for one in self.hospitals)]

    @property
    def offered(self) -> int:
        return sum(len(one.cards) for one in self.hospitals)


def write_page(folder: Path, address: str | None = None) -> Path:
    """Write the page of a repository.

    Args:
        folder: the repository's.
        address: where consumers reach it; None shows a placeholder.

    Raises:
        InputError, VerificationError: the repository is not readable.
    """
    page = repository_page(MetadataFolder(folder), address or "https://…")
    path = folder / PAGE
    files.write_text(path, render("sharekit.repository", "repository.html", page))
    return path


def repository_page(store: MetadataFolder, address: str) -> RepositoryPage:
    """What the page shows: the releases in the current snapshot."""
    snapshot, timestamp, top = store.snapshot(), store.timestamp(), store.targets()
    sections = []
    for name, label in store.hospitals().items():
        meta = None if snapshot is None else snapshot.meta.get(f"{name}.json")
        withdrawn, cards = withdrawn_by(top, name), []
        if meta is not None:
            targets = store.read(name, meta.version).signed
            withdrawn += withdrawn_by(targets, name)
            gone = {one.manifest_sha256 for one in withdrawn}
            for offer in offers_of(name, targets):
                if offer.record.manifest_sha256 not in gone:
                    sheet = targets.targets.get(offer.record.sheet)
                    cards.append(Card(offer, _sheet(store, sheet, offer), _commands(address, store, offer)))
        sections.append(HospitalSection(name, label, tuple(cards), tuple(withdrawn)))
    expires = "" if timestamp is None else f"{timestamp.expires:%Y-%m-%d %H:%M} UTC"
    return RepositoryPage(address, root_fingerprint(store.root), expires, tuple(sections))


def _sheet(store: MetadataFolder, target: object, offer: Offer) -> Embedded | None:
    from tuf.api.metadata import TargetFile

    if not isinstance(target, TargetFile) or not store.target_path(target).is_file():
        return None
    data = files.read_bytes(store.target_path(target), max_bytes=MAX_SHEET_BYTES)
    words = f"synthetic images with their masks from release {offer.record.release}"
    return Embedded(data, "image/png", words)


def _commands(address: str, store: MetadataFolder, offer: Offer) -> tuple[str, ...]:
    name = offer.name
    root = root_fingerprint(store.root)
    identity = () if offer.record.encryption is None else ("--identity", "FILE")
    return (
        command_line("sharekit", "trust", "add", name, "--key", f"{name}.pub", "--valid-until", "DATE"),
        command_line("consumer", "pull", address, "--hospital", name, "--root", root, *identity),
        command_line("sharekit", "verify", name, "--key", name),
    )
