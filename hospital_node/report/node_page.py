"""The report as one self-contained HTML page: no script, no link, every picture inside."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from hospital_node.audit.generator_audit import GeneratorAudit

WARNING = "Contains real images: do not leave. This page stays inside the node's folder."
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:1100px;padding:0 1.5rem 4rem;color:#1c1c1c}
.warning{background:#b3261e;color:#fff;padding:.7rem 1rem;font-weight:600;position:sticky;top:0}
h1{font-weight:600;margin:1.5rem 0 .3rem}h2{font-weight:600;margin:2.2rem 0 .6rem}
h3{font:600 14px ui-monospace,monospace;margin:0 0 .4rem}
table{border-collapse:collapse}td,th{padding:.2rem .9rem .2rem 0;text-align:left;font-size:14px}
td.number{font-variant-numeric:tabular-nums;text-align:right}
.image{border-top:1px solid #ddd;padding:1rem 0}.row{display:flex;gap:.5rem;flex-wrap:wrap}
figure{margin:0}figcaption{font-size:12px;color:#555}img{display:block;height:110px}
.real img{outline:3px solid #b3261e}.reason{color:#555}svg{max-width:100%;height:auto}
"""


@dataclass(frozen=True)
class Picture:
    """One picture of the page."""

    caption: str
    png: bytes
    real: bool


@dataclass(frozen=True)
class ImageSection:
    """What the page says of one image."""

    title: str  # identifier and file name
    state: str
    reason: str
    pictures: tuple[Picture, ...]
    audit: GeneratorAudit | None


def render(
    hospital: str,
    counts: Mapping[str, int],
    sections: Sequence[ImageSection],
    plots: Mapping[str, str],
    fidelity: str = "",
    unpictured: str = "",
) -> str:
    """The page.

    Args:
        hospital: its name.
        counts: images in each state.
        sections: one an image.
        plots: title to SVG.
        fidelity: HTML of that section.
        unpictured: which images are shown without pictures; empty when none is.
    """
    states = "".join(
        f'<tr><td>{escape(state)}</td><td class="number">{count}</td></tr>'
        for state, count in counts.items()
        if count
    )
    body = [
        f'<div class="warning">{WARNING}</div>',
        f"<h1>{escape(hospital)}: report of the node</h1>",
        f"<h2>States</h2><table>{states}</table>",
        *(f"<h2>{escape(title)}</h2>{svg}" for title, svg in plots.items()),
        fidelity,
        "<h2>Sources beside samples</h2>",
        f"<p><b>{escape(unpictured)}</b></p>" if unpictured else "",
        *(_section(section) for section in sections),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>Node report: {escape(hospital)}</title><style>{STYLE}</style></head>"
        f"<body>{''.join(body)}</body></html>\n"
    )


def _section(section: ImageSection) -> str:
    pictures = "".join(_picture(picture) for picture in section.pictures)
    return (
        f'<div class="image"><h3>{escape(section.title)}</h3>'
        f'<p><b>{escape(section.state)}</b> <span class="reason">{escape(section.reason)}</span></p>'
        f'<div class="row">{pictures}</div>{_measures(section.audit)}</div>'
    )


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode()
    kind = ' class="real"' if picture.real else ""
    caption = escape(picture.caption)
    return (
        f'<figure{kind}><img alt="{caption}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _measures(audit: GeneratorAudit | None) -> str:
    if audit is None:
        return ""
    rows = "".join(
        f"<tr><td>{escape(result.attack)}</td><td>{escape(item.name)}</td>"
        f'<td class="number">{item.value:.3f}</td><td class="number">{item.low:.3f} to {item.high:.3f}</td>'
        f'<td class="number">{_number(item.baseline)}</td>'
        f'<td class="number">{_number(item.control)}</td></tr>'
        for result in audit.attacks
        for item in result.measures
    )
    return (
        f"<details><summary>{audit.samples} samples, verdict: {escape(audit.verdict)}</summary><table><tr>"
        "<th>attack</th><th>figure</th><th>value</th><th>95 % interval</th><th>baseline</th><th>control</th>"
        f"</tr>{rows}</table></details>"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
