"""Export: write what the gate allows into a signed bundle, searched for anything real before it leaves."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hospital_node.audit.attacks import styled
from hospital_node.audit.audited import Asking, images_behind, read_asking
from hospital_node.leaks.node_content import node_content
from hospital_node.leaks.search import refuse_real_content
from hospital_node.ledger.releases import ReleaseEvent
from hospital_node.ledger.states import GeneratorState
from hospital_node.node import history
from hospital_node.node.image_layouts import layout_warning, layouts
from hospital_node.node.node import Node
from hospital_node.release.approval import read_approvals
from hospital_node.release.audit_words import differences_in_words
from hospital_node.release.bundle_attacks import most_exposing
from hospital_node.release.contents import Release
from hospital_node.release.gate import decide, way_out
from hospital_node.release.group_differences import keyed_groups, with_differences
from hospital_node.release.policy_change import current_policy
from hospital_node.release.real_statistics import StatisticsAsked
from hospital_node.release.units_behind import units_behind
from hospital_node.release.vetting import Listed, in_words, vet
from hospital_node.release.vetting_settings import CANDIDATES
from sharekit.bundle import features
from sharekit.bundle.bundle import VerifiedBundle, verify_bundle, write_bundle
from sharekit.bundle.style_statistics import StyleStatistics
from sharekit.errors import InputError, PolicyError
from sharekit.program.progress import ProgressCallback, ignore
from sharekit.program.umask import users_umask
from sharekit.signing.keys import Signer
from sharekit.storage import container


@dataclass(frozen=True)
class ExportResult:
    """What was released, and what was not."""

    bundle: VerifiedBundle
    released: tuple[str, ...]  # generators
    group_sizes: Mapping[str, int]  # released generator: images behind it
    images: int  # distinct ones behind all of them
    refused: Mapping[str, tuple[str, ...]]  # generator: reasons
    style: str  # the bundle's style statistics in words, or why it has none
    vetted: str  # how many samples were found good, in words
    looked_at: Mapping[str, Listed]  # released group: its list, and how near samples lie to its sources
    whole: str  # what attacks on the bundle as a whole found, in words
    warnings: tuple[str, ...]  # what a person should know, although the bundle was written

    @property
    def max_abs_difference(self) -> float:
        """Largest difference of any ONNX file from its trained network, on outputs in [-1, 1]."""
        return max(entry.parity.max_abs_difference for entry in self.bundle.manifest.generators)

    def to_json(self) -> dict[str, Any]:
        return {
            "bundle": str(self.bundle.path),
            "release": self.bundle.manifest.release,
            "verdict": self.bundle.verdict,
            "fingerprint": self.bundle.fingerprint,
            "generators": list(self.released),
            "group_sizes": dict(self.group_sizes),
            "images": self.images,
            "max_abs_difference": self.max_abs_difference,
            "refused": {name: list(reasons) for name, reasons in self.refused.items()},
            "style": self.style,
            "vetted": self.vetted,
            "nearest": {
                name: {view: share.to_json() for view, share in one.nearest.items()}
                for name, one in self.looked_at.items()
            },
            "whole": self.whole,
            "warnings": list(self.warnings),
        }


def export_bundle(
    node: Node,
    out: Path,
    key: Signer,
    *,
    features_path: Path | None = None,
    vetted: int = CANDIDATES,
    now: datetime | None = None,
    on_progress: ProgressCallback = ignore,
) -> ExportResult:
    """Release every generator that the gate allows, as one bundle.

    What was released before and is still allowed goes out again, under a higher release counter.

    Args:
        node: its write lock is taken.
        out: a new folder, or a new zip when it ends in `.zip`; outside the node.
        key: the hospital's release key.
        features_path: file of the feature network for style statistics; None looks for one.
        vetted: samples to look at, so that consumers draw good ones first; 0 looks at no sample.
        now: time of the release, UTC; None reads the clock.
        on_progress: called while samples are looked at.

    Raises:
        PolicyError: the policy cannot be read or lets no generator leave, or the privacy budget is spent.
        ExposureError: the finished bytes hold something real; nothing was written.
        InputError: `out` exists already, or lies inside the node.
    """
    _check_out(node, out)
    policy = current_policy(node)
    with node.write_lock():
        found, unreadable = read_asking(node)
        asking = with_differences(node, found, policy.limits.k)
        decision = decide(policy, [item.candidate for item in asking], read_approvals(node))
        leaving = tuple(item for item in asking if item.candidate.generator_id in decision.allowed)
        refused = {**decision.refused, **{name: (why,) for name, why in unreadable.items()}}
        _require_some(node, leaving, refused)
        images = images_behind(leaving)
        units = units_behind(node, images)
        masks, style, style_text = StatisticsAsked(node, policy, units, images, features_path).publish()
        looked_at = vet(node, leaving, vetted, on_progress)
        good = {name: one.vetted for name, one in looked_at.items()}
        created = (now or datetime.now(UTC)).replace(microsecond=0)
        number = node.next_release()
        # First: a release that was written and then interrupted is in the history, and carries this entry.
        history.record(node, history.Action.EXPORT, begun=number, signed_by=key.public.fingerprint)
        release = Release(
            node,
            leaving,
            units,
            policy,
            decision,
            number,
            created,
            masks,
            style,
            style_text,
            good,
            features_path,
        )
        bundle = _write_checked(release, out, key)
        for item in leaving:
            node.ledger.generators.transition(item.record.id, GeneratorState.RELEASED, f"release {number}")
        exported = {
            "manifest_sha256": bundle.manifest_sha256,
            "public_key": key.public.pem().decode(),
            "generators": [item.record.id for item in leaving],
            "images": len(images),
            "groups": keyed_groups(node, leaving),
        }
        node.ledger.releases.append(number, ReleaseEvent.EXPORTED, exported)
        history.record(
            node,
            history.Action.EXPORT,
            release=number,
            generators=[item.record.id for item in leaving],
            images=len(images),
            units=len(units),
            policy_sha256=policy.digest,
            signed_by=key.public.fingerprint,
        )
    sizes = {item.record.id: len(item.record.images) for item in leaving}
    layout = layout_warning(layouts(node.ledger.get(image) for image in images))
    warnings = (
        *([] if layout is None else [layout]),
        *differences_in_words(policy, leaving),
        *_style_not_attacked(style, leaving),
    )
    return ExportResult(
        bundle,
        tuple(sizes),
        sizes,
        len(images),
        refused,
        style_text,
        in_words(good),
        looked_at,
        most_exposing(release.attacks),
        warnings,
    )


def _style_not_attacked(style: StyleStatistics | None, leaving: Sequence[Asking]) -> list[str]:
    """A warning where style statistics leave and no audit attacked samples that were styled."""
    results = (one for item in leaving for one in item.audit.attacks if one.attack == styled.NAME)
    if style is None or any(one.samples for one in results):
        return []
    return [
        "style statistics leave, and no audit attacked styled samples: name the feature network's file in"
        f" {features.ENVIRONMENT_VARIABLE} and repeat the audit with --again"
    ]


def _check_out(node: Node, out: Path) -> None:
    inside = out.resolve().is_relative_to(node.root.resolve())
    if inside or out.exists() or out.is_symlink():
        raise InputError(
            out,
            expected="a new path outside the node",
            found="a path inside the node" if inside else "something there",
            next_step="choose another path",
        )


def _require_some(node: Node, leaving: Sequence[Asking], refused: Mapping[str, tuple[str, ...]]) -> None:
    if leaving:
        return
    reasons = [f"{name}: {'; '.join(why)}" for name, why in list(refused.items())[:5]]
    raise PolicyError(
        node.root,
        expected="at least one generator with a passed audit and an approval",
        found="; ".join(reasons) or "no trained generator",
        next_step=way_out(reason for why in refused.values() for reason in why),
    )


def _write_checked(release: Release, out: Path, key: Signer) -> VerifiedBundle:
    """Finish the bundle inside the node, search its bytes, and only then copy it out and verify it again."""
    node = release.node
    staging = node.root / f"outgoing-{release.number}{out.suffix.lower()}"
    try:
        staged = write_bundle(staging, release.contents(key), release.manifest(), key)
        finished = _Finished(staged.container)
        refuse_real_content(finished, node_content(node, [item.generator for item in release.leaving]))
        with users_umask(), container.new_container(out) as writer:
            for name, data in finished.items():
                writer.add(name, data)
            writer.close()
    finally:
        if staging.is_dir():
            shutil.rmtree(staging)
        staging.unlink(missing_ok=True)
    return verify_bundle(out, [key.public])


class _Finished(Mapping[str, bytes]):
    """The files of a finished bundle, manifest and signature included, each read on access."""

    def __init__(self, box: container.Container) -> None:
        self._box = box

    def __getitem__(self, name: str) -> bytes:
        return self._box.read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._box.lengths)

    def __len__(self) -> int:
        return len(self._box.lengths)
