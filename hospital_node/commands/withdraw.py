"""`hospital-node withdraw`: take a release back, so that consumers learn of it and cannot open it."""

from __future__ import annotations

import argparse

from sharekit.program import password, shared_options
from sharekit.program.arguments import whole_number
from sharekit.program.output import Output, warning_text
from sharekit.program.phrases import counted

SUMMARY = "withdraw a release, with a reason that consumers read; works without the node's images"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("release", type=whole_number(1), metavar="RELEASE", help="number of the release")
    shared_options.node(parser)
    parser.add_argument("--reason", required=True, metavar="TEXT", help="reason that every consumer reads")
    shared_options.repository_folder(parser, required=False)
    shared_options.signers(parser, "the hospital's people")
    parser.add_argument(
        "--keep-generators",
        action="store_true",
        help="let the release's generators leave in later releases (left out: they never leave again)",
    )
    password.configure(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    from hospital_node.node.node import Node
    from hospital_node.release.publish import withdraw
    from sharekit.trust.key_choice import private_keys

    done = withdraw(
        Node.open(args.node),
        args.release,
        args.reason,
        repository=args.repository,
        keys=private_keys(args.key, args),
        keep_generators=args.keep_generators,
    )
    others = ", ".join(map(str, done.also_in))
    output.result(
        done.to_json(),
        f"withdrawn    release {done.release.number}: {args.reason}",
        f"generators   {counted(len(done.generators), 'generator')} never leave again",
        *([warning_text(f"release {others} holds some of these generators too")] if others else []),
        *([f"metadata     {done.staged.in_words()}"] if done.staged else []),
        *(
            ["next: the steward gives `sharekit repository refresh`"]
            if done.staged and done.staged.complete
            else []
        ),
    )
