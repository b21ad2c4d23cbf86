"""Static check: do the candidate's own bytes hold anything of its sources?"""

from __future__ import annotations

from dataclasses import dataclass

from hospital_node.audit.attack import AttackContext, AttackResult, Question
from hospital_node.leaks.search import find_real_content


@dataclass(frozen=True)
class StaticCheck:
    """The search of the candidate's own bytes and tensors for its sources, as one attack among the others."""

    name: str = "static"
    question: Question = Question.EXTRACTION

    def run(self, context: AttackContext) -> AttackResult:
        candidate = {f"generators/{context.generator_id}.onnx": context.candidate}
        findings = find_real_content(candidate, context.real)
        return AttackResult(
            self.name,
            "search of the finished bytes and tensors for pixels, pyramid levels, paths and digests",
            samples=0,
            controls=0,
            measures=(),
            at_chance=None,
            objections=tuple(str(finding) for finding in findings),
        )
