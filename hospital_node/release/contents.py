"""Every file of a bundle, from what the gate lets out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

from hospital_node.audit.attack import AttackResult
from hospital_node.audit.audited import Asking, images_behind, read_candidate_bytes
from hospital_node.audit.generator_audit import GeneratorAudit
from hospital_node.node import history
from hospital_node.node.node import Node
from hospital_node.overlays.outcome import Overlays, Treatment
from hospital_node.release.bundle_attacks import Published, attack_bundle
from hospital_node.release.card import model_card
from hospital_node.release.gate import Decision
from hospital_node.release.officer import Officer
from hospital_node.release.provenance import Made, privacy_statement, provenance_statement
from hospital_node.release.real_statistics import data_set_commitment
from hospital_node.release.release_policy import Policy
from hospital_node.release.units_behind import RealUnit
from hospital_node.release.vetting import in_words
from hospital_node.statistics.protected_coverage import CoverageStatistics
from sharekit.bundle.bundle import CARD_NAME, PRIVACY_NAME, PROVENANCE_NAME, STATISTICS_NAME
from sharekit.bundle.manifest import (
    Dependencies,
    FeatureSource,
    GeneratorEntry,
    Group,
    Limits,
    Manifest,
    OverlayCounts,
    Unit,
)
from sharekit.bundle.style_statistics import StyleStatistics
from sharekit.bundle.vetted import Vetted
from sharekit.generator.onnx_contract import IR_VERSION, OPSET
from sharekit.signing import dsse
from sharekit.signing.keys import Signer
from sharekit.storage import files

VALID_FOR = timedelta(days=365)


@dataclass(frozen=True)
class Release:
    """What goes into one bundle."""

    node: Node
    leaving: tuple[Asking, ...]  # what the gate allowed, at least one
    units: tuple[RealUnit, ...]  # behind these generators
    policy: Policy
    decision: Decision
    number: int  # release counter
    created: datetime  # UTC, whole seconds
    coverage: CoverageStatistics  # protected, and published already
    style: StyleStatistics | None
    style_text: str  # the bundle's style statistics in words, or why it has none
    vetted: Mapping[str, Vetted]  # by generator, as far as samples were looked at
    features_path: Path | None = None  # file of the feature network; None looks for one

    @property
    def images(self) -> tuple[str, ...]:
        """Identifiers of the distinct images behind the generators."""
        return images_behind(self.leaving)

    @property
    def audits(self) -> list[GeneratorAudit]:
        return [item.audit for item in self.leaving]

    @property
    def officer(self) -> Officer:
        """The facts for a data-protection officer."""
        return Officer(
            self.policy.declaration,
            len(self.images),
            len(self.units),
            sum(unit.patient_known for unit in self.units),
            tuple(item.generator.profile for item in self.leaving),
        )

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
                    group_behind(self.node, item),
                    self.vetted.get(item.record.id),
                )
                for item in self.leaving
            ),
            Dependencies(OPSET, IR_VERSION, features=source),
            Limits(max_side=max(Limits.max_side, *(max(spec.height, spec.width) for spec in specs))),
            overlays=self.overlays,
        )

    def contents(self, key: Signer) -> Mapping[str, bytes]:
        """Every file except the manifest and the signature; each candidate is read on access."""
        generators = [item.generator for item in self.leaving]
        made = Made(
            generators,
            self.decision.allowed,
            self.policy.digest,
            len(self.images),
            data_set_commitment(self.node, self.images),
            history.head(self.node),
            self.number,
            self.created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        card = model_card(
            self.node.hospital,
            self.number,
            generators,
            self.audits,
            [group_behind(self.node, item) for item in self.leaving],
            self.coverage,
            self.style_text,
            in_words(self.vetted),
            self.overlays,
            self.officer,
            self.attacks,
        )
        privacy = privacy_statement(self.audits, self.officer, self.attacks)
        provenance = provenance_statement(self.audits, made)
        described = {
            CARD_NAME: card.encode(),
            STATISTICS_NAME: files.dump_json(self.coverage.to_json()),
            PRIVACY_NAME: dsse.sign_statement(privacy, key).to_bytes(),
            PROVENANCE_NAME: dsse.sign_statement(provenance, key).to_bytes(),
            **(self.style.to_files() if self.style else {}),
        }
        return _Contents(described, self.node, {item.bundle_path: item.record.id for item in self.leaving})

    @property
    def overlays(self) -> OverlayCounts:
        """What happened to text and graphics in the images behind the generators."""
        records = (self.node.ledger.get(image) for image in self.images)
        found = Counter(Overlays.from_text(record.overlays).treatment for record in records)
        kept, unknown = found[Treatment.KEPT], found[Treatment.UNKNOWN]
        return OverlayCounts(found.total() - kept - unknown, kept, unknown)

    @cached_property
    def attacks(self) -> tuple[AttackResult, ...]:
        """What attacks on the bundle as a whole found."""
        published = Published(self.leaving, self.units, self.style, self.coverage)
        return attack_bundle(self.node, published, self.features_path)


def group_behind(node: Node, item: Asking) -> Group:
    """How many images and units stand behind a generator, as the gate counted them."""
    images = node.ledger.images_of(item.record.id)
    unit = Unit.PATIENT if all(image.unit for image in images) else Unit.PICTURE
    return Group(len(images), item.candidate.units, unit)


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
