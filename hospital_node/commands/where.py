"""`hospital-node where`: what the node holds of an image or a patient, and which releases learnt from it."""

from __future__ import annotations

import argparse

from sharekit.program import shared_options
from sharekit.program.output import Output
from sharekit.program.phrases import counted

SUMMARY = "show what the node holds of an image or a patient: states, generators, releases"


def configure(parser: argparse.ArgumentParser) -> None:
    shared_options.node(parser)
    shared_options.images_or_patient(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    from hospital_node.node.find_images import find_images
    from hospital_node.node.node import Node

    node = Node.open(args.node, read_only=True)
    images = find_images(node, args.image, args.patient)
    generators = {one.id: one for image in images for one in node.ledger.generators.of_image(image.id)}
    releases = sorted({number for one in generators.values() for number in one.releases})
    output.result(
        {
            "images": [image.to_json() for image in images],
            "generators": [
                {"id": one.id, "state": str(one.state), "releases": list(one.releases)}
                for one in generators.values()
            ],
            "releases": releases,
        },
        f"{counted(len(images), 'image')}, {counted(len(generators), 'generator')},"
        f" {counted(len(releases), 'release')}",
        *(f"image {image.id}: {image.source}, {image.state}" for image in images),
        *(
            f"generator {one.id}: {one.state}"
            + (f", in release {', '.join(map(str, one.releases))}" if one.releases else "")
            for one in generators.values()
        ),
    )
