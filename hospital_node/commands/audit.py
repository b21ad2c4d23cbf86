"""`hospital-node audit`: attack every trained generator; without it nothing leaves."""

from __future__ import annotations

import argparse
from pathlib import Path

from hospital_node.audit.audit_settings import AuditSettings
from sharekit.program import progress
from sharekit.program.command_line import Output

SUMMARY = "build each trained generator's candidate, attack it, and put the verdict in words"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--node", type=Path, required=True, help="the node's folder")
    parser.add_argument(
        "--samples", type=int, default=AuditSettings.samples, help="samples drawn from every candidate"
    )
    parser.add_argument(
        "--seed", type=int, default=AuditSettings.seed, help="of samples, choice of controls and bootstrap"
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="audit also what was audited, withheld or released before, as after a change of the policy",
    )
    progress.configure(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    from hospital_node.audit.audit_node import audit_node
    from hospital_node.ledger.ledger import ImageState
    from hospital_node.node.node import Node
    from hospital_node.release.audit_words import audit_table
    from hospital_node.release.release_policy import load_or_create_policy
    from sharekit.errors import PartialFailureError

    node = Node.open(args.node)
    limits = load_or_create_policy(node.policy_path).limits
    with progress.reporter("audit", unit="generators") as on_progress:
        settings = AuditSettings(args.samples, args.seed, args.again)
        outcomes = audit_node(node, limits, settings, on_progress=on_progress)
    failed = [outcome for outcome in outcomes if outcome.audit is None]
    withheld = [outcome for outcome in outcomes if outcome.state is ImageState.WITHHELD]
    output.result(
        {
            "audited": len(outcomes) - len(withheld),
            "withheld": len(withheld) - len(failed),
            "failed": len(failed),
            "images": [
                {
                    "id": outcome.image_id,
                    "state": str(outcome.state),
                    "reason": outcome.reason,
                    "audit": outcome.audit and outcome.audit.to_json(),
                }
                for outcome in outcomes
            ],
        },
        audit_table(
            [(outcome.image_id, outcome.state, outcome.reason, outcome.audit) for outcome in outcomes]
        ),
        f"{len(outcomes) - len(withheld)} may be put forward, {len(withheld)} withheld;"
        " next: `hospital-node approve`",
    )
    return PartialFailureError.exit_code if failed else 0
