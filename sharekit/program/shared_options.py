"""Options with the same meaning in every command: one name, one form, one help sentence."""

from __future__ import annotations

import argparse
from pathlib import Path

from sharekit.program.arguments import show_first_name, thread_count, whole_number


def node(parser: argparse.ArgumentParser, *, required: bool = True, help: str = "the node's folder") -> None:
    """Add `--node NODE`."""
    parser.add_argument("--node", type=Path, required=required, metavar="NODE", help=help)


def private_key(parser: argparse.ArgumentParser, whose: str, *, required: bool = True, why: str = "") -> None:
    """Add `--key KEY`; `whose` is a phrase such as `the approver's`. Call `password.configure` too."""
    parser.add_argument(
        "--key", type=Path, required=required, metavar="KEY", help=f"{whose} private key{why}"
    )


def images_or_patient(parser: argparse.ArgumentParser) -> None:
    """Add `IMAGE` and `--patient`, which name images of a node in two ways."""
    parser.add_argument(
        "image", nargs="*", metavar="IMAGE", help="identifier, path, file name or stem of an image"
    )
    parser.add_argument(
        "--patient", metavar="PATIENT", help="the patient's identifier, as in the file given to --groups"
    )


def signers(parser: argparse.ArgumentParser, whose: str, *, required: bool = False) -> None:
    """Add a repeatable `--key KEY` for several people's private keys. Call `password.configure` too."""
    parser.add_argument(
        "--key",
        type=Path,
        action="append",
        required=required,
        default=None if required else [],
        metavar="KEY",
        help=f"private key of one of {whose}; repeat it where several sign at once",
    )


def public_key(
    parser: argparse.ArgumentParser, whose: str, *, required: bool = True, several: bool = False
) -> None:
    """Add `--key PUB`, a public key's file or a trusted hospital's name; `trust.key_choice` reads it."""
    parser.add_argument(
        "--key",
        action="append" if several else "store",
        required=required,
        default=[] if several and not required else None,
        metavar="PUB",
        help=f"{whose} public key, or the name of a hospital that you trust",
    )


def identity(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """Add a repeatable `--identity FILE`."""
    parser.add_argument(
        "--identity",
        type=Path,
        action="append",
        required=required,
        default=None if required else [],
        metavar="FILE",
        help="identity that opens bundles encrypted for you, as `sharekit keys identity` wrote it",
    )


def repository_folder(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add `--repository DIR`."""
    parser.add_argument(
        "--repository",
        type=Path,
        required=required,
        metavar="DIR",
        help="folder of the repository, or a copy of it on a medium",
    )


def threads(parser: argparse.ArgumentParser, left_out: str = "as many as this machine has free") -> None:
    """Add `--threads T`; `left_out` describes the value without the option."""
    parser.add_argument(
        "--threads", type=thread_count, metavar="T", help=f"CPU threads to use (left out: {left_out})"
    )


def seed(parser: argparse.ArgumentParser, default: int | None, what: str) -> None:
    """Add `--seed S`, required if `default` is None; `what` names the random choice."""
    parser.add_argument(
        "--seed",
        type=whole_number(),
        required=default is None,
        default=default,
        metavar="S",
        help=f"seed of {what}; the same seed gives the same result",
    )


def device(parser: argparse.ArgumentParser, *former_names: str) -> None:
    """Add `--device`, which also accepts its `former_names`."""
    action = parser.add_argument(
        *("--device", *former_names),
        choices=["auto", "cuda", "cpu"],
        default="auto",
        help="device to compute on; auto takes a GPU where one works",
    )
    show_first_name(action)


def repository_address(parser: argparse.ArgumentParser, *, required: bool = True, left_out: str = "") -> None:
    """Add `REPOSITORY`, and `--root`, which the first contact needs."""
    words = f" (left out: {left_out})" if left_out else ""
    parser.add_argument(
        "repository",
        nargs=None if required else "?",
        metavar="REPOSITORY",
        help=f"address of the repository: https, http of this machine, or a folder{words}",
    )
    parser.add_argument(
        "--root",
        metavar="HEX|FILE",
        help="fingerprint of the repository's root, confirmed over another way, or its file; needed once",
    )
