"""Take a folder of images and masks into a node, one pair at a time."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from hospital_node.intake.intake_report import InReview, IntakeReport, Refusal
from hospital_node.intake.intake_rules import IntakeRules
from hospital_node.intake.intake_warnings import (
    about_colours,
    about_copies,
    about_ignored_pixels,
    about_kept_overlays,
    about_layouts,
    about_linked_folders,
    about_names,
    about_other_masks,
    about_overlays,
    about_the_folder,
)
from hospital_node.intake.read_pair import ReadPair
from hospital_node.intake.scrub import Scrubber
from hospital_node.intake.separation import TRAINING, OtherSide
from hospital_node.intake.source_files import Source, SourceFiles
from hospital_node.ledger.ledger import ImageRecord, ImageState
from hospital_node.node import history
from hospital_node.node.fingerprints import fingerprint_of, store_fingerprint
from hospital_node.node.groups_file import read_patients
from hospital_node.node.node import Node
from hospital_node.node.units import join, patient_unit
from hospital_node.overlays.outcome import Overlays, Ruling, Treatment
from sharekit.errors import InputError, NodeStateError
from sharekit.pictures.folder import Listing, generated_by, list_files, require_folders
from sharekit.pictures.mask_map import CLASS_NAME
from sharekit.pictures.masks import MaskError, MaskKind
from sharekit.pictures.pairing import Mismatch, Pairing, SourcePair, pair
from sharekit.pictures.similarity import Fingerprint, distinct_pictures, fingerprint
from sharekit.program.progress import Progress, ProgressCallback, ignore


def check_data(data: Path) -> None:
    """Refuse a folder with nothing to ingest, before a node is made for it.

    Raises:
        InputError: `data` has no `images` and `masks` folders, or generators drew its pictures.
    """
    require_folders(data)
    drawn = generated_by(data)
    if drawn is not None:
        raise InputError(
            data,
            expected="a hospital's own pictures",
            found=f"a synthetic data set: {drawn}",
            next_step="ingest the real pictures; samples are for `consumer train` and `consumer validate`",
        )


def ingest(
    data: Path,
    node: Node,
    on_progress: ProgressCallback = ignore,
    *,
    rules: IntakeRules | None = None,
    hold_out: bool = False,
) -> IntakeReport:
    """Take every usable pair of `data` into `node`; refuse every other one with its reason.

    The node recognises pairs that it has by a keyed commitment to their bytes, so that after a kill the same
    call goes on and takes only new pairs. With `hold_out` the pairs are for evaluation only. Intake then
    refuses a picture that nearly equals one on the other side, and every new one once the hold-out has been
    evaluated on: the difference of two reports would tell about the images that were added.

    With `rules.groups` every image needs a patient in that file. An image that the node has already gets its
    patient from it, once.

    Raises:
        InputError: `data` has no `images` and `masks` folders, generators drew its pictures, or the file of
            patients is broken.
        NodeStateError: another process is writing the node, or the disk is full.
    """
    data = Path(data).resolve()
    check_data(data)
    rules = rules or IntakeRules()
    listing = list_files(data)
    pairing = pair(listing.files, mask_suffix=rules.mask_suffix, class_name=CLASS_NAME)
    # Read the file first, so that a broken one changes nothing.
    images = [one.image for one in pairing.pairs] + [one.path for one in pairing.mismatches if one.is_image]
    # A picture that left the folder may keep its row: the report names it, with the command that erases it.
    left = [one.source_image for one in node.ledger.iterate() if one.data_dir == str(data)]
    patients = None if rules.groups is None else read_patients(rules.groups, data, {*images, *left})
    with node.write_lock():
        node.remove_orphans()
        intake = _Intake(data, node, rules, hold_out, patients)
        for mismatch in pairing.mismatches:
            intake.refuse_file(mismatch)
        sources = intake.expand(pairing.pairs)
        intake.survey(sources, on_progress)
        total = len(sources)
        for number, source in enumerate(sources):
            on_progress(Progress(number, total, values={"refused": len(intake.refusals)}))
            intake.take(source)
        intake.take_waiting()
        on_progress(Progress(total, total, values={"refused": len(intake.refusals)}))
        report = intake.report(listing, pairing)
        about_dicom: dict[str, Any] = {"deidentification": deidentification(rules)} if intake.dicom else {}
        history.record(
            node,
            history.Action.INTAKE,
            hold_out=hold_out,
            ingested=report.ingested,
            refused=len(report.refused),
            review=len(report.review),
            overlays="kept" if rules.keep_overlays else "painted over",
            **about_dicom,
            images=report.images,
            units=report.units,
            unknown_patients=report.unknown_patients,
        )
        return report


class _Intake:
    """One run over one folder: what it has counted so far."""

    def __init__(
        self,
        data: Path,
        node: Node,
        rules: IntakeRules,
        hold_out: bool,
        patients: Mapping[str, str] | None,
    ) -> None:
        self.data = data
        self.node = node
        self.rules = rules
        self.hold_out = hold_out
        self.patients = patients
        """Image path to its patient; None: patients are unknown."""
        self.other_side = OtherSide(node, hold_out=hold_out)
        self.states = (ImageState.HELD_OUT,) if hold_out else TRAINING
        self.ingested = 0
        self.known = 0
        self.refusals: list[Refusal] = []
        self.keys: dict[str, str] = {}
        """Image path to content key, for every readable pair."""
        self.new: dict[str, Fingerprint] = {}
        """Identifier to fingerprint, for every image taken now."""
        self.ignored: dict[str, float] = {}
        self.converted: list[str] = []
        self.number_masks: dict[str, str] = {}
        """Folder to one of its masks in which 1 is a class number."""
        self.waiting: list[Source] = []
        self.files = SourceFiles(data, rules)
        self.dicom = False
        """Whether a DICOM image was taken."""
        self.review: list[InReview] = []
        self.painted: list[str] = []
        self.kept: list[str] = []
        self.on_mask: dict[str, list[str]] = {}
        """Picture to the classes whose masks have painted pixels."""
        self._scrubber: Scrubber | None = None

    def expand(self, pairs: Sequence[SourcePair]) -> list[Source]:
        """The pictures in the files of all pairs; unreadable files are refused."""
        found: list[Source] = []
        for one in pairs:
            try:
                found += self.files.expand(one)
            except InputError as error:
                self._refuse(one.image, tuple(one.masks.values()), error)
        return found

    def survey(self, pairs: Sequence[Source], on_progress: ProgressCallback) -> None:
        """Look for overlays in every new picture before any is taken.

        Raises:
            DependencyError: the extra `scrub` is missing, and there is a new picture.
        """
        if self.rules.keep_overlays:
            return
        for number, source in enumerate(pairs):
            on_progress(Progress(number, len(pairs), message="looking for text and graphics"))
            try:
                image, masks, content_key = self._read(source)
                known = self.node.ledger.find(content_key)
                if known is not None and known.state is not ImageState.REVIEW:
                    continue
                read = self.files.decode(source, image, masks)
            except InputError:
                # `take` refuses it with its reason.
                continue
            self.scrubber.look(source.pair.image, read.pair, read.declared)

    @property
    def scrubber(self) -> Scrubber:
        if self._scrubber is None:
            self._scrubber = Scrubber(self.node.ledger.iterate(ImageState.INGESTED, ImageState.HELD_OUT))
        return self._scrubber

    def take_waiting(self) -> None:
        """Take the pairs with masks of 0 and 1, after all other masks have been seen."""
        for source in self.waiting:
            self.take(source, all_seen=True)

    def take(self, source: Source, *, all_seen: bool = False) -> None:
        pair, path = source.pair, source.pair.image
        try:
            image, masks, content_key = self._read(source)
            self.keys[source.image] = self.keys[path] = content_key
            known = self.node.ledger.find(content_key)
            ruling = None
            if known is not None and known.state is ImageState.REVIEW:
                ruling = Overlays.from_text(known.overlays).ruling
            elif known is not None:
                _check_not_refused(known, path)
                self.other_side.check_known(known, path)
                self.known += 1
                self._take_known(known, source)
                return
            self._check_open(path)
            read = self.files.decode(source, image, masks)
            if read.zero_one and not all_seen:
                self.waiting.append(source)
                return
            self._check_zero_one(read.zero_one)
            unit = self._unit_of(source)
            self.other_side.check_patient(unit, path)
            read, overlays = self._scrub(path, read, ruling)
            found = fingerprint(read.pair.image)
            self.other_side.check_unlike(found, path)
        except InputError as error:
            self._remember_numbers(error)
            self._refuse(path, tuple(pair.masks.values()), error)
        else:
            if overlays.treatment is Treatment.WAITING:
                self._set_aside(pair, overlays, content_key, unit, known)
            else:
                self.dicom = self.dicom or source.is_dicom
                self._accept(pair, read, content_key, found, unit, overlays)

    def refuse_file(self, mismatch: Mismatch) -> None:
        image, masks = (mismatch.path, ()) if mismatch.is_image else ("", (mismatch.path,))
        self._refuse(image, masks, mismatch.reason)

    def report(self, listing: Listing, pairing: Pairing) -> IntakeReport:
        records = self.node.ledger.records(*self.states)
        fingerprints = [self.new.get(one.id) or fingerprint_of(self.node, one.id) for one in records]
        pictures = distinct_pictures(fingerprints)
        copies = [[records[index] for index in group] for group in pictures]
        again = self._taken_again(records, fingerprints)
        present = set(listing.files)
        waiting = self.node.ledger.records(ImageState.REVIEW)
        here = [record for record in (*records, *waiting) if record.data_dir == str(self.data)]
        return IntakeReport(
            node=str(self.node.root),
            hospital=self.node.hospital,
            hold_out=self.hold_out,
            ingested=self.ingested,
            known=self.known,
            images=len(records),
            pictures=len(pictures),
            units=len(join(records, pictures)),
            unknown_patients=sum(not record.unit for record in records),
            refused=tuple(self.refusals),
            review=tuple(self.review),
            warnings=(
                *about_names(pairing.hint),
                *about_linked_folders(listing.linked),
                *about_ignored_pixels(self.ignored),
                *about_colours(self.converted),
                *about_overlays(self.painted, self.on_mask),
                *about_kept_overlays(self.kept),
                *about_other_masks(self.node.root, again),
                *about_the_folder(self.node.root, here, present, self.keys, again),
                *about_copies(copies),
                *about_layouts(records),
            ),
            skipped=listing.skipped,
        )

    def _taken_again(
        self, records: Sequence[ImageRecord], fingerprints: Sequence[Fingerprint]
    ) -> list[tuple[ImageRecord, ImageRecord]]:
        """Pictures taken now whose pixels the node had already: the earlier image and the new one."""
        by_digest: dict[bytes, list[ImageRecord]] = defaultdict(list)
        for record, found in zip(records, fingerprints, strict=True):
            by_digest[found.digest].append(record)
        again = []
        for group in by_digest.values():
            earlier = [record for record in group if record.id not in self.new]
            again += [(earlier[-1], record) for record in group if earlier and record.id in self.new]
        return again

    # -- taking

    def _read(self, source: Source) -> tuple[bytes, dict[str, bytes], str]:
        """The bytes of a picture's files, and its content key."""
        image, masks = self.files.bytes_of(source)
        return image, masks, self._content_key(image, masks, source.frame)

    def _scrub(self, path: str, read: ReadPair, ruling: Ruling | None) -> tuple[ReadPair, Overlays]:
        """The pair without its overlays, and what was found."""
        if self.rules.keep_overlays:
            self.kept.append(path)
            return read, Overlays(Treatment.KEPT)
        read, overlays, classes = self.scrubber.scrub(path, read, ruling)
        if overlays.treatment is not Treatment.WAITING and overlays.painted:
            self.painted.append(path)
        if classes:
            self.on_mask[path] = classes
        return read, overlays

    def _set_aside(
        self, source: SourcePair, overlays: Overlays, content_key: str, unit: str, known: ImageRecord | None
    ) -> None:
        """Record a picture that waits for a person; its pixels are not stored."""
        image_id = secrets.token_hex(16) if known is None else known.id
        self.review.append(InReview(source.image, image_id, overlays.doubt))
        if known is None:
            self.node.ledger.add(
                ImageRecord(
                    image_id,
                    source.image,
                    tuple(source.masks.values()),
                    ImageState.REVIEW,
                    f"quarantined for review: {overlays.doubt}",
                    data_dir=str(self.data),
                    content_key=content_key,
                    unit=unit,
                    overlays=overlays.to_text(),
                )
            )

    def _content_key(self, image: bytes, masks: Mapping[str, bytes], frame: int) -> str:
        mask_map = self.rules.mask_map
        read_as = "" if mask_map is None else f"{mask_map.text}:"
        return self._commit(
            "pair",
            _digest(image),
            *(f"{read_as}{name}:{_digest(mask)}" for name, mask in masks.items()),
            *([f"frame {frame}"] if frame else []),
        )

    def _unit_of(self, source: Source) -> str:
        """The keyed digest of an image's patient; empty if patients are unknown.

        The file of patients comes before the identifier in a DICOM file.

        Raises:
            InputError: the file of patients leaves this image out.
        """
        path = source.image
        if self.patients is None:
            patient = self.files.patient(source)
            return patient_unit(self.node, patient) if patient else ""
        if path not in self.patients:
            raise InputError(
                path,
                expected=f"a patient in {self.rules.groups}",
                found="no row for this image",
                next_step="add a row; an image of a patient without others is a group of its own",
            )
        return patient_unit(self.node, self.patients[path])

    def _take_known(self, known: ImageRecord, source: Source) -> None:
        """Let an image that the node has already learn its patient; a refusal is reported, and it stays."""
        try:
            self._learn_patient(known, source)
        except InputError as error:
            self.refusals.append(Refusal.of(error))

    def _learn_patient(self, known: ImageRecord, source: Source) -> None:
        """Record the patient of an image that the node has already, if one is named.

        Raises:
            InputError: the patient is on the other side, or the image has another one in the node.
        """
        if self.patients is not None and source.image not in self.patients:
            return
        path, unit = source.pair.image, self._unit_of(source)
        if not unit or unit == known.unit:
            return
        if known.unit:
            raise InputError(
                path,
                expected="the patient that it was ingested with",
                found="another one",
                next_step=f"if the earlier was wrong: hospital-node erase {known.id}, then ingest again",
            )
        self.other_side.check_patient(unit, path)
        self.node.ledger.set_unit(known.id, unit)

    def _check_open(self, path: str) -> None:
        spent = self.node.ledger.evaluations.count() if self.hold_out else 0
        if spent:
            raise InputError(
                path,
                expected="a hold-out that nothing has been evaluated on yet",
                found=f"{spent} evaluations",
                next_step="make a new node, with images that nothing was ever evaluated on",
            )

    def _remember_numbers(self, error: InputError) -> None:
        """Remember a refused mask in which 1 is a class number."""
        reading = error.reading if isinstance(error, MaskError) else None
        if reading is not None and reading.kind is MaskKind.NUMBERS and 1 in reading.values:
            self.number_masks.setdefault(str(PurePosixPath(error.item).parent), error.item)

    def _check_zero_one(self, masks: Sequence[str]) -> None:
        """Refuse masks of 0 and 1 where others of their folder show that 1 is one class of several."""
        for path in masks:
            other = self.number_masks.get(str(PurePosixPath(path).parent))
            if other is not None:
                raise InputError(
                    path,
                    expected="a mask of 0 and 1 in a folder of masks of this kind",
                    found=f"class numbers in {other} of the same folder: 1 may be one class of several",
                    next_step="name the classes with --mask-map, or keep the two kinds of masks apart",
                )

    def _accept(
        self,
        source: SourcePair,
        read: ReadPair,
        content_key: str,
        found: Fingerprint,
        unit: str,
        overlays: Overlays,
    ) -> None:
        image_id = secrets.token_hex(16)
        try:
            self.node.store_pair(image_id, read.pair)
            store_fingerprint(self.node, image_id, found)
        except OSError as error:
            raise NodeStateError(
                self.node.root,
                expected="room for one more image",
                found=error.strerror or type(error).__name__,
                next_step="free some disk space and run the same command again",
            ) from error
        height, width, channels = read.pair.image.shape
        self.node.ledger.add(
            ImageRecord(
                image_id,
                source.image,
                tuple(source.masks.values()),
                ImageState.HELD_OUT if self.hold_out else ImageState.INGESTED,
                height=height,
                width=width,
                image_channels=channels,
                mask_classes=tuple(read.pair.masks),
                data_dir=str(self.data),
                content_key=content_key,
                unit=unit,
                overlays=overlays.to_text(),
            )
        )
        self.ingested += 1
        self.new[image_id] = found
        if read.ignored:
            self.ignored[source.image] = read.ignored
        if read.converted:
            self.converted.append(source.image)

    def _refuse(self, image: str, masks: tuple[str, ...], error: InputError) -> None:
        refusal = Refusal.of(error)
        self.refusals.append(refusal)
        content_key = self._commit("refused", str(self.data), image, *masks, refusal.reason)
        if not self.node.ledger.known(content_key):
            self.node.ledger.add(
                ImageRecord(
                    secrets.token_hex(16),
                    image,
                    masks,
                    ImageState.REFUSED,
                    refusal.reason,
                    data_dir=str(self.data),
                    content_key=content_key,
                )
            )

    def _commit(self, *parts: str) -> str:
        return self.node.commit(json.dumps(parts).encode())


def deidentification(rules: IntakeRules) -> list[str]:
    """What was done to DICOM files, as codes of PS3.16 CID 7050 with their meaning."""
    profile = ["113100 Basic Application Confidentiality Profile"]
    return profile if rules.keep_overlays else [*profile, "113101 Clean Pixel Data Option"]


def _check_not_refused(known: ImageRecord, item: object) -> None:
    """Refuse files that a person refused at a review.

    Raises:
        InputError: naming `item`.
    """
    if known.state is ImageState.REFUSED:
        raise InputError(
            item,
            expected="a picture that a person has not refused",
            found=known.reason,
            next_step="leave it out, or take the text out of the file and ingest it again",
        )


def _digest(data: bytes) -> str:
    # Only ever inside a keyed commitment.
    return hashlib.sha256(data).hexdigest()
