"""Static check: does the file itself hold anything of its source?"""

from __future__ import annotations

from dataclasses import dataclass

from hospital_node.audit.attack import AttackContext, AttackResult
from hospital_node.leaks.search import RealContent, find_real_content


@dataclass(frozen=True)
class StaticCheck:
    """The search of the candidate's own bytes and tensors for its source, as one attack among the others."""

    name: str = "static"

    def run(self, context: AttackContext) -> AttackResult:
        source = RealContent(context.generator_id, context.pixels, context.levels)
        findings = find_real_content({f"generators/{context.generator_id}.onnx": context.candidate}, [source])
        return AttackResult(
            self.name,
            "search of the finished bytes and tensors for pixels, pyramid levels, paths and digests",
            samples=0,
            controls=0,
            measures=(),
            at_chance=None,
            objections=tuple(str(finding) for finding in findings),
        )
