"""Find images by what a person knows of them: a file's name, or the patient."""

from __future__ import annotations

from collections.abc import Sequence

from hospital_node.ledger.ledger import ImageRecord, ImageState
from hospital_node.node.groups_file import by_name
from hospital_node.node.node import Node
from hospital_node.node.units import patient_unit, readable_units
from sharekit.errors import InputError, UsageError


def find_images(node: Node, names: Sequence[str], patient: str | None) -> list[ImageRecord]:
    """The images with these names, or those of a patient.

    Raises:
        UsageError: names and a patient, or neither.
        InputError: the node has no such image or patient, or a name fits several images.
    """
    if bool(names) == (patient is not None):
        raise UsageError(
            "IMAGE",
            expected="images, or --patient PATIENT",
            found="both" if names else "neither",
            next_step="name one of them; `hospital-node status --all --format json` lists the images",
        )
    return images_named(node, names) if patient is None else images_of_patient(node, patient)


def images_named(node: Node, names: Sequence[str]) -> list[ImageRecord]:
    """The images with these identifiers, paths, file names or stems, in any state.

    Raises:
        InputError: a name fits no image, or several.
    """
    records = {record.id: record for record in node.ledger.iterate()}
    known = by_name({one.id: (one.source, one.data_dir) for one in records.values()})
    found = {}
    for name in names:
        fitting = [name] if name in records else known(name)
        if len(fitting) != 1:
            raise InputError(
                name,
                expected="the identifier, path, file name or stem of one image of this node",
                found=f"{len(fitting)} images: {', '.join(fitting)}" if fitting else "no image",
                next_step="give an identifier: `hospital-node status --all --format json` lists the images",
            )
        found[fitting[0]] = records[fitting[0]]
    return list(found.values())


def images_of_patient(node: Node, patient: str) -> list[ImageRecord]:
    """Every image of a patient, and of an unknown patient where it shows the same picture as one of them.

    Args:
        node: its secret finds the patient's digest.
        patient: the hospital's identifier, as ingest was given it.

    Raises:
        InputError: the node has no image of this patient.
    """
    found = node.ledger.of_unit(patient_unit(node, patient))
    if not found:
        raise InputError(
            "--patient",
            expected="a patient whose images were ingested with --groups",
            found="no image of this patient",
            next_step="check the spelling; images ingested without --groups are found by file name only",
        )
    known = {record.id for record in found}
    taken = [record for record in node.ledger.iterate() if record.state is not ImageState.REFUSED]
    unknown = {record.id: record for record in taken if not record.unit}
    same = [unit for unit in readable_units(node, taken) if not known.isdisjoint(unit)]
    return found + [unknown[image] for unit in same for image in unit if image in unknown]
