"""Options that had another name: the former one still works, and no help shows it."""

from __future__ import annotations

import argparse


def accept_former_name(parser: argparse.ArgumentParser, former: str, option: str) -> None:
    """Let `former` mean what the option of the parser means."""
    # argparse shows every name that `add_argument` is given; names that it only looks up stay hidden.
    actions = parser._option_string_actions
    actions[former] = actions[option]
