"""Reads a private key's password from an environment variable or a prompt, never from the command line."""

from __future__ import annotations

import argparse
import getpass
import os

from sharekit.errors import UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add `--password-env` and `--ask-password`; `from_args` reads them."""
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--password-env", metavar="VARIABLE", help="environment variable with the private key's password"
    )
    choice.add_argument(
        "--ask-password", action="store_true", help="ask for the private key's password on the terminal"
    )


def from_args(args: argparse.Namespace, *, confirm: bool = False) -> bytes | None:
    """Read the password as the options say, or return None; with `confirm`, a prompt asks twice.

    Raises:
        UsageError: the variable is empty or unset, the prompt was left empty, or the two answers differ.
    """
    if args.password_env:
        password = os.environ.get(args.password_env, "")
        source = f"environment variable {args.password_env}"
    elif args.ask_password:
        password = getpass.getpass("Password of the private key: ")
        source = "password"
        if confirm and password != getpass.getpass("The same again: "):
            raise UsageError(
                source, expected="the same password twice", found="two different ones", next_step="try again"
            )
    else:
        return None
    if not password:
        raise UsageError(source, expected="a password", found="nothing", next_step="set it and try again")
    return password.encode()
