"""`CARD.md`: the model card that a person reads before using a bundle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from hospital_node.audit.attack import AttackResult, Measure, Space
from hospital_node.audit.attacks.nearest import DISTANCE_RATIO
from hospital_node.audit.figure_words import SMALLEST_LEAKS, WORDS
from hospital_node.audit.generator_audit import MISSING_CONTROLS, NONE_SUCCEEDED, GeneratorAudit
from hospital_node.audit.release_summary import summarise
from hospital_node.audit.verdict import Verdict
from hospital_node.release.bundle_attacks import PARTS, most_exposing
from hospital_node.release.officer import Officer, officer_section
from hospital_node.singan.trained import TrainedGenerator
from hospital_node.statistics.protected_coverage import CoverageStatistics
from sharekit.bundle.manifest import Group, OverlayCounts, Unit
from sharekit.program.phrases import counted

ONE_IMAGE = (
    "Every such generator was trained on one real image and can be linked to it by whoever already has that"
    " image. It is for named recipients under an agreement, not for the public."
)
MEANINGS = {
    Verdict.LINKABLE: "Every such generator was trained on images of {sizes}: fewer than the policy asks of a"
    " group, or there were too few other images to compare with. Take it that it can be linked to each of"
    " them by whoever already has that image. It is for named recipients under an agreement, not for the"
    " public.",
    Verdict.K_GROUP: "Every such generator was trained on images of {sizes}, at least the policy's size of a"
    " group; attacks still did better than guessing.",
    Verdict.NO_ATTACK_SUCCEEDED: "Every such generator was trained on images of {sizes}, at least the"
    " policy's size of a group, and no attack of the audit did better than guessing. Other attacks may.",
}
"""What a verdict means for generators of several images."""
SPACE_WORDS: Mapping[str, str] = {Space.THUMBNAIL: "as thumbnails", Space.FULL: "at full scale"}


def model_card(
    hospital: str,
    release: int,
    generators: Sequence[TrainedGenerator],
    audits: Sequence[GeneratorAudit],
    groups: Sequence[Group],
    statistics: CoverageStatistics,
    style: str,
    vetted: str,
    overlays: OverlayCounts,
    officer: Officer,
    bundle: Sequence[AttackResult],
) -> str:
    """The card, in Markdown.

    Args:
        hospital: its name, as in the manifest.
        release: the release counter.
        generators: those in the bundle.
        audits: audits of the same generators, in the same order.
        groups: what stands behind the same generators, in the same order.
        statistics: the protected histograms.
        style: the bundle's style statistics in words, or why it has none.
        vetted: how many samples were found good, in words.
        overlays: what was done about text that devices wrote into the real images.
        officer: the facts for a data-protection officer.
        bundle: what attacks on the bundle as a whole found.
    """
    sections = [
        f"# Synthetic-image generators of {hospital}, release {release}",
        _what(generators),
        _how(generators),
        "## What it may be used for\n\n"
        "Training and pre-training of segmentation models, teaching, and development of software. Not for"
        " diagnosis, not as evidence about a patient, not for estimating how common a finding is: the share"
        " of findings in it is the share in the images that were chosen.",
        _privacy(audits, groups),
        _whole(bundle),
        officer_section(officer, audits),
        _vetted(vetted),
        _statistics(statistics, style),
        "## Known limits\n\n"
        f"- Each generator varies {_scenes(generators)}: many samples of it add little variety over a few.\n"
        "- Samples may show anatomy that cannot exist, and masks that do not fit it.\n"
        f"- Text and graphics that devices write into pictures: {overlays}. What is left may come back in"
        " samples, in part or distorted.\n"
        "- A segmentation model that was trained on it must be tested on real images before any use.",
    ]
    return "\n\n".join(sections) + "\n"


def _what(generators: Sequence[TrainedGenerator]) -> str:
    classes = sorted({name for item in generators for name in item.spec.layout.mask_classes})
    sizes = Counter(f"{item.spec.width}x{item.spec.height}" for item in generators)
    shown = ", ".join(f"{size} ({count})" for size, count in sizes.most_common(5))
    more = f" and {len(sizes) - 5} other sizes" if len(sizes) > 5 else ""
    return (
        "## What it is\n\n"
        f"{len(generators)} generators in ONNX. Each draws any number of synthetic images with their masks;"
        f" mask classes: {', '.join(classes)}. Sizes in pixels, width x height: {shown}{more}; others can be"
        " asked for."
    )


def _how(generators: Sequence[TrainedGenerator]) -> str:
    profiles = Counter(item.profile for item in generators)
    shown = ", ".join(f"`{name}` ({count})" for name, count in profiles.most_common())
    return (
        "## How it was made\n\n"
        f"SinGAN-Seg (Thambawita et al., PLOS ONE 2022): {_networks(generators)}. Training profiles: {shown};"
        " every setting is in `provenance.json`."
        " No real image, reconstruction noise, discriminator or optimiser state is in this bundle."
    )


def _networks(generators: Sequence[TrainedGenerator]) -> str:
    sizes = Counter(item.group_size for item in generators)
    if set(sizes) == {1}:
        return "one small generative adversarial network for each pair of an image and its mask"
    shown = ", ".join(f"{size} ({count} of {len(generators)})" for size, count in sorted(sizes.items()))
    return (
        "small generative adversarial networks, each of which learns from a group of real images with their"
        f" masks, in turn. Real images behind a generator: {shown}"
    )


def _scenes(generators: Sequence[TrainedGenerator]) -> str:
    return "one scene" if all(item.group_size == 1 for item in generators) else "the scenes of its images"


def _images(count: int) -> str:
    return "1 real image" if count == 1 else f"{count} real images"


def _vetted(vetted: str) -> str:
    return (
        "## Vetted samples\n\n"
        f"The hospital looked at samples of its groups and listed as good: {vetted}. A listed sample has"
        " sound masks and the usual look of its generator. As a whole, listed samples are nearest to a real"
        " image of their generator no more often than chance says. Chance dropped some good samples. Even so,"
        " what is missing says something about the images behind a generator."
        " Consumers draw the listed samples first; all others are unvetted."
    )


def _behind(groups: Sequence[Group]) -> str:
    shown = Counter(map(str, groups)).most_common(8)
    more = "; and others" if len(shown) < len(set(map(str, groups))) else ""
    words = "; ".join(f"{group} ({count} of {len(groups)} generators)" for group, count in shown)
    return f"Behind the generators stand: {words}{more}. Which images these are stays inside the hospital."


def _privacy(audits: Sequence[GeneratorAudit], groups: Sequence[Group]) -> str:
    lines = ["## Privacy", "", _behind(groups), ""]
    for words, count in Counter(audit.verdict for audit in audits).most_common():
        lines += [f"**{words}** ({count} of {len(audits)} generators). {_meaning(words, audits, groups)}", ""]
    for measure in summarise(audits):
        lines.append(
            "- generators to whose samples a real image that they learnt from is the nearest"
            f" ({SPACE_WORDS[measure.space]}): {measure.value:.0%} (95 % interval {measure.low:.0%} to"
            f" {measure.high:.0%}; guessing gives {measure.baseline or 0:.0%})"
        )
    found = (audit.measure(Space.FULL, DISTANCE_RATIO) for audit in audits)
    ratios = [measure for measure in found if measure is not None]
    if ratios:
        nearest = min(ratios, key=lambda measure: measure.value)
        lines.append(
            f"- nearest sample of all to an image that its generator learnt from: {nearest.value:.2f} of the"
            f" median distance between real images (95 % interval {nearest.low:.2f} to {nearest.high:.2f};"
            f" {_compared(nearest)})"
        )
    lines.append(_succeeded(audits))
    without = sum(MISSING_CONTROLS in audit.remarks for audit in audits)
    if without:
        lines.append(f"- {without} generators: {MISSING_CONTROLS}")
    lines += [
        f"- planted leaks as small as these were found: {'; '.join(SMALLEST_LEAKS)}. A smaller leak, or"
        " another kind of leak, may stay unseen",
        "- every figure, with both comparisons and its interval, is in `privacy.json`",
    ]
    return "\n".join(lines)


def _compared(measure: Measure) -> str:
    """Put the other two columns of a figure in words."""
    columns = (
        ("member against member", measure.control),
        ("a generator that never saw the image", measure.stranger),
    )
    return ", ".join(
        f"{words} {'not known' if value is None else f'{value:.2f}'}" for words, value in columns
    )


def _succeeded(audits: Sequence[GeneratorAudit]) -> str:
    """Which attacks succeeded, on how many generators."""
    names = [attack.attack for attack in audits[0].attacks] if audits else []
    counts = Counter(name for audit in audits for name in audit.succeeded)
    if not counts:
        return f"- {NONE_SUCCEEDED} ({', '.join(names)})"
    shown = ", ".join(f"{name} on {count}" for name, count in counts.most_common())
    return f"- attacks that succeeded, of {', '.join(names)}: {shown} of {len(audits)} generators"


def _whole(bundle: Sequence[AttackResult]) -> str:
    lines = ["## The bundle as a whole", "", f"{most_exposing(bundle)}."]
    for attack in bundle:
        for measure in attack.measures:
            part = PARTS.get(measure.space, "thumbnails")
            compared = "" if measure.control is None else f"; member against member {measure.control:.2f}"
            interval = f"95 % interval {measure.low:.2f} to {measure.high:.2f}"
            lines.append(
                f"- {WORDS[measure.quantity]}, by {part}: {measure.value:.2f} ({interval}; guessing gives"
                f" {measure.baseline or 0:.2f}{compared})"
            )
        if not attack.samples:
            lines.append(f"- {attack.attack}: {attack.description}")
    return "\n".join(lines)


def _meaning(words: Verdict, audits: Sequence[GeneratorAudit], groups: Sequence[Group]) -> str:
    """What a verdict means for the generators that have it."""
    behind = [group for audit, group in zip(audits, groups, strict=True) if audit.verdict is words]
    if words is Verdict.LINKABLE and all(group.images == 1 for group in behind):
        return ONE_IMAGE
    sizes = sorted(group.units for group in behind)
    patients = all(group.unit is Unit.PATIENT for group in behind)
    last = counted(sizes[-1], "patient" if patients else "distinct picture")
    return MEANINGS[words].format(sizes=last if sizes[0] == sizes[-1] else f"{sizes[0]} to {last}")


def _statistics(statistics: CoverageStatistics, style: str) -> str:
    protection = statistics.protection
    return (
        "## Statistics of the real data\n\n"
        f"`statistics.json`: coverage of the masks of {_images(statistics.image_count)} in 5 % bins, with"
        f" {protection.mechanism} noise (epsilon {protection.epsilon:g} for this release,"
        f" {statistics.total_epsilon:g} in total so far, of everything protected;"
        f" {protection.neighbours}).\n\n"
        f"Style statistics: {style}."
    )
