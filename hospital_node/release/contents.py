"""Every file of a bundle, from what the gate lets out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from hospital_node.audit.audited import Asking, images_behind, read_candidate_bytes
from hospital_node.audit.generator_audit import GeneratorAudit
from hospital_node.node.node import Node
from hospital_node.release.card import model_card
from hospital_node.release.gate import Decision
from hospital_node.release.pictures import RealPicture
from hospital_node.release.provenance import Made, privacy_statement, provenance_statement
from hospital_node.release.release_policy import Policy
from hospital_node.statistics.protected_coverage import CoverageStatistics, publish_coverage
from sharekit.bundle.bundle import CARD_NAME, PRIVACY_NAME, PROVENANCE_NAME
from sharekit.bundle.manifest import Dependencies, FeatureSource, GeneratorEntry, Limits, Manifest
from sharekit.bundle.style_statistics import StyleStatistics
from sharekit.generator.onnx_contract import IR_VERSION, OPSET
from sharekit.pictures.mask_statistics import coverage
from sharekit.signing import dsse
from sharekit.signing.keys import Signer
from sharekit.storage import files

VALID_FOR = timedelta(days=365)
PUBLISHED_NAME = "published-statistics.json"
"""File in which earlier releases kept what the ledger holds now."""
STATISTICS_NAME = "statistics.json"


@dataclass(frozen=True)
class Release:
    """What goes into one bundle."""

    node: Node
    leaving: tuple[Asking, ...]  # what the gate allowed, at least one
    pictures: tuple[RealPicture, ...]  # distinct ones behind these generators
    policy: Policy
    decision: Decision
    number: int  # release counter
    created: datetime  # UTC, whole seconds
    style: StyleStatistics | None
    style_text: str  # the bundle's style statistics in words, or why it has none

    @property
    def images(self) -> tuple[str, ...]:
        """Identifiers of the distinct images behind the generators."""
        return images_behind(self.leaving)

    @property
    def audits(self) -> list[GeneratorAudit]:
        return [item.audit for item in self.leaving]

    def manifest(self) -> Manifest:
        """The bundle's manifest, with its list of files still empty."""
        style = self.style
        source = None if style is None else FeatureSource(style.network, style.network_sha256)
        specs = [item.generator.spec for item in self.leaving]
        return Manifest(
            self.node.hospital,
            self.number,
            self.created,
            self.created + VALID_FOR,
            tuple(
                GeneratorEntry(
                    item.generator.spec,
                    item.bundle_path,
                    item.audit.candidate_sha256,
                    item.generator.profile,
                    item.audit.parity.stated,
                    str(item.audit.verdict),
                )
                for item in self.leaving
            ),
            Dependencies(OPSET, IR_VERSION, features=source),
            Limits(max_side=max(Limits.max_side, *(max(spec.height, spec.width) for spec in specs))),
        )

    def contents(self, key: Signer) -> Mapping[str, bytes]:
        """Every file except the manifest and the signature; each candidate is read on access.

        Raises:
            PolicyError: the statistics would spend more than the privacy budget.
        """
        statistics = self._coverage()
        generators = [item.generator for item in self.leaving]
        made = Made(
            generators,
            self.decision.allowed,
            self.policy.digest,
            len(self.images),
            data_set_commitment(self.node, self.images),
            self.number,
            self.created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        card = model_card(
            self.node.hospital, self.number, generators, self.audits, statistics, self.style_text
        )
        privacy, provenance = privacy_statement(self.audits), provenance_statement(self.audits, made)
        described = {
            CARD_NAME: card.encode(),
            STATISTICS_NAME: files.dump_json(statistics.to_json()),
            PRIVACY_NAME: dsse.sign_statement(privacy, key).to_bytes(),
            PROVENANCE_NAME: dsse.sign_statement(provenance, key).to_bytes(),
            **(self.style.to_files() if self.style else {}),
        }
        return _Contents(described, self.node, {item.bundle_path: item.record.id for item in self.leaving})

    def _coverage(self) -> CoverageStatistics:
        coverages: dict[str, list[float]] = {}
        for picture in self.pictures:
            for name, mean in _mean_coverages(self.node, picture).items():
                coverages.setdefault(name, []).append(mean)
        return publish_coverage(
            coverages,
            image_count=len(self.pictures),
            commitment=data_set_commitment(self.node, self.images),
            ledger=self.node.ledger,
            earlier=self.node.root / PUBLISHED_NAME,
            epsilon=self.policy.epsilon,
            max_total_epsilon=self.policy.max_total_epsilon,
        )


def _mean_coverages(node: Node, picture: RealPicture) -> dict[str, float]:
    """Class to the mean coverage in [0, 1] over the images of one picture, which so counts once."""
    found: dict[str, list[float]] = {}
    for image in picture.behind:
        for name, mask in node.load_pair(image).masks.items():
            found.setdefault(name, []).append(coverage(mask))
    return {name: sum(values) / len(values) for name, values in found.items()}


def data_set_commitment(node: Node, images: Sequence[str]) -> str:
    """Keyed commitment to the stored pixels of every image, in any order."""
    parts = []
    for image in images:
        pair = node.load_pair(image)
        shape = f"{pair.image.shape} {list(pair.masks)}".encode()
        pixels = b"".join([pair.image.tobytes(), *(mask.tobytes() for mask in pair.masks.values())])
        parts.append(node.commit(shape + pixels))
    return node.commit("\n".join(sorted(parts)).encode())


class _Contents(Mapping[str, bytes]):
    """Files in memory, and candidates read one at a time, because hundreds do not fit in memory."""

    def __init__(self, described: Mapping[str, bytes], node: Node, candidates: Mapping[str, str]) -> None:
        self._described, self._node, self._candidates = described, node, candidates

    def __getitem__(self, name: str) -> bytes:
        if name in self._candidates:
            return read_candidate_bytes(self._node, self._candidates[name])
        return self._described[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._described
        yield from self._candidates

    def __len__(self) -> int:
        return len(self._described) + len(self._candidates)
