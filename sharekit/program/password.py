"""Reads a private key's password from a variable, a file or a prompt, never from the command line."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from pathlib import Path

from sharekit.errors import UsageError
from sharekit.storage import files

MAX_BYTES = 4096


def configure(parser: argparse.ArgumentParser, *, new: bool = False) -> None:
    """Add `--password-env`, `--password-file` and `--ask-password`; `new` adds `--no-password`."""
    choice = parser.add_mutually_exclusive_group()
    if new:
        choice.add_argument(
            "--no-password",
            action="store_true",
            help="store the private key without encryption (left out: a terminal asks for a password)",
        )
    choice.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help="file whose first line is the private key's password",
    )
    choice.add_argument(
        "--password-env", metavar="VARIABLE", help="environment variable with the private key's password"
    )
    choice.add_argument(
        "--ask-password", action="store_true", help="ask for the private key's password on the terminal"
    )


def from_args(args: argparse.Namespace, *, confirm: bool = False) -> bytes | None:
    """Read the password as the options say, or return None; with `confirm`, a prompt asks twice.

    Raises:
        UsageError: the variable or file is empty or unset, the prompt was left empty, or the two answers
            differ.
        InputError: the file cannot be read.
    """
    if args.password_env:
        password = os.environ.get(args.password_env, "")
        source = f"environment variable {args.password_env}"
    elif args.password_file:
        lines = (
            files.read_bytes(args.password_file, max_bytes=MAX_BYTES).decode(errors="replace").splitlines()
        )
        password, source = lines[0] if lines else "", str(args.password_file)
    elif args.ask_password:
        return ask("the private key", confirm=confirm)
    else:
        return None
    return _required(password, source)


def for_new_key(args: argparse.Namespace) -> bytes | None:
    """The password of a new key; None if the user gave `--no-password`.

    Raises:
        UsageError: as `from_args`, or no option is given and no terminal can ask.
    """
    if args.no_password:
        return None
    given = from_args(args, confirm=True)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise UsageError(
            "password",
            expected="a password that encrypts the new private key",
            found="no option, and no terminal to ask on",
            next_step="give --password-file FILE or --password-env VARIABLE, or --no-password on purpose",
        )
    return ask("the new private key", confirm=True)


def ask(whose: object, *, confirm: bool = False) -> bytes:
    """Ask on the terminal, twice with `confirm`.

    Raises:
        UsageError: the answer is empty, or the two answers differ.
    """
    password = getpass.getpass(f"Password of {whose}: ")
    if confirm and password != getpass.getpass("The same again: "):
        raise UsageError(
            "password", expected="the same password twice", found="two different ones", next_step="try again"
        )
    return _required(password, "password")


def _required(password: str, source: str) -> bytes:
    if not password:
        raise UsageError(source, expected="a password", found="nothing", next_step="set it and try again")
    return password.encode()
