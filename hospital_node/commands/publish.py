"""`hospital-node publish`: sign that a release is offered in a repository."""

from __future__ import annotations

import argparse
from pathlib import Path

from sharekit.program import password, shared_options
from sharekit.program.output import Output

SUMMARY = "sign, as one of two people, that a bundle is offered in a repository; needs no network"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle that `export` wrote")
    shared_options.node(parser)
    shared_options.repository_folder(parser)
    shared_options.signers(parser, "the hospital's people", required=True)
    parser.add_argument(
        "--modality",
        metavar="TEXT",
        help="modality of the images, such as colonoscopy; the first signer says it",
    )
    parser.add_argument(
        "--licence", metavar="TEXT", help="terms of use, such as CC-BY-4.0; the first signer says them"
    )
    parser.add_argument(
        "--recipient",
        action="append",
        default=[],
        metavar="NAME",
        help="registered recipient, for the release's record; repeat it for several",
    )
    parser.add_argument(
        "--encrypt-for",
        action="append",
        default=[],
        metavar="NAME",
        help="registered recipient; these alone can read the bundle; repeat it for several; "
        "the first signer says it (left out: everybody can read it)",
    )
    password.configure(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    from hospital_node.node.node import Node
    from hospital_node.release.publish import Description, publish
    from sharekit.trust.key_choice import private_keys

    keys = private_keys(args.key, args)
    description = Description(args.modality, args.licence)
    done = publish(
        *(Node.open(args.node), args.bundle, args.repository, keys, description),
        recipients=args.recipient,
        encrypt=args.encrypt_for,
    )
    record = done.record
    output.result(
        done.to_json(),
        f"release      {record.release} of {record.hospital}, as {done.name}",
        f"says         {record.modality}, {record.licence}, {record.generators} generators of"
        f" {record.images} images, {'; '.join(record.verdicts)}",
        f"recipients   {', '.join(one.name for one in done.recipients) or 'none named'}",
        f"encrypted    {'for its recipients' if record.encryption else 'no'}",
        f"metadata     {done.staged.in_words()}",
        *(["next: the steward gives `sharekit repository refresh`"] if done.staged.complete else []),
    )
