"""Options that mean the same in every command: one name, one form, one sentence of help."""

from __future__ import annotations

import argparse
from pathlib import Path

from sharekit.program.arguments import show_first_name, thread_count, whole_number


def node(parser: argparse.ArgumentParser, *, required: bool = True, help: str = "the node's folder") -> None:
    """Add `--node NODE`."""
    parser.add_argument("--node", type=Path, required=required, metavar="NODE", help=help)


def private_key(parser: argparse.ArgumentParser, whose: str) -> None:
    """Add `--key KEY`; `whose` is as `the approver's`. `password.configure` belongs to it."""
    parser.add_argument("--key", type=Path, required=True, metavar="KEY", help=f"{whose} private key")


def threads(parser: argparse.ArgumentParser, left_out: str = "as many as this machine has free") -> None:
    """Add `--threads T`; `left_out` says what is taken without it."""
    parser.add_argument(
        "--threads", type=thread_count, metavar="T", help=f"CPU threads to use (left out: {left_out})"
    )


def seed(parser: argparse.ArgumentParser, default: int | None, what: str) -> None:
    """Add `--seed S`, required without a default; `what` says what is drawn at random."""
    parser.add_argument(
        "--seed",
        type=whole_number(),
        required=default is None,
        default=default,
        metavar="S",
        help=f"seed of {what}; the same seed gives the same result",
    )


def device(parser: argparse.ArgumentParser, *former_names: str) -> None:
    """Add `--device`, which also answers to `former_names`."""
    action = parser.add_argument(
        *("--device", *former_names),
        choices=["auto", "cuda", "cpu"],
        default="auto",
        help="where to compute; auto takes a GPU where one works",
    )
    show_first_name(action)
