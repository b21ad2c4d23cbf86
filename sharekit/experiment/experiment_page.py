"""The experiments' page: the answer, then figures and tables; no script, nothing fetched, all escaped."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from html import escape

from sharekit.experiment import paper_figures as plots
from sharekit.experiment import published
from sharekit.experiment.answer import Mood, answer, percent, signed
from sharekit.experiment.document import Failure, Table
from sharekit.experiment.tables import IOU, Row
from sharekit.intervals import Interval
from sharekit.segmenter.metrics import Metric

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
)
TITLES = {
    "table1": "Real against synthetic data",
    "table2": "Few real images: real, synthetic, or both",
}
_ABOUT = {
    "table1": "FAKE-N: N synthetic images of every generator; the two numbers behind it are the weights of "
    "content and style of those that were styled. Generators and validation images never share a fold.",
    "table2": "R real images, synthetic images of the generators of these R alone, and both together, with "
    "the same number of updates for every arm. Each seed chooses its own R images. Each arm is judged by one "
    "figure, the mean of its differences over the R; each R alone is listed, without a verdict.",
}
_METRICS = {
    Metric.DICE_LOSS: "Dice loss",
    Metric.IOU: "IoU",
    Metric.F_SCORE: "F-score",
    Metric.ACCURACY: "Accuracy",
    Metric.RECALL: "Recall",
    Metric.PRECISION: "Precision",
}
_FIRST_COLUMN = "<th>Trained on<br>(real + synthetic)</th>"
_MORE_COLUMNS = ("IoU, last<br>weights", "IoU against<br>real alone", "IoU in<br>the paper")
_DASH = "–"
_STYLESHEET = """
:root { --ink: #1f2933; --muted: #616e7c; --line: #e4e7eb; --good: #2f855a; --warn: #b7791f; --bad: #c53030;
  --serif: Georgia, "Liberation Serif", serif; }
* { box-sizing: border-box; }
body { margin: 0; background: #f7f8f9; color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 44px 28px 72px; }
.kind { margin: 0; color: var(--muted); font-size: 13px; letter-spacing: .06em; text-transform: uppercase; }
h1 { margin: 2px 0 18px; font: 600 32px/1.2 var(--serif); }
h2 { margin: 0 0 4px; font: 600 20px/1.3 var(--serif); }
h3 { margin: 18px 0 0; font-size: 15px; }
section { margin-top: 28px; padding: 24px 26px; background: #fff; border: 1px solid var(--line);
  border-radius: 10px; }
section > p { margin: 0 0 14px; color: var(--muted); max-width: 85ch; }
.verdict { margin-bottom: 12px; padding: 14px 18px; border-left: 5px solid; border-radius: 4px;
  background: #fff; font-size: 18px; }
.verdict small { display: block; color: var(--muted); font-size: 13px; }
.verdict ul { margin: 6px 0 0; padding-left: 20px; color: var(--muted); font-size: 14px; }
.good { border-color: var(--good); } .warn { border-color: var(--warn); } .bad { border-color: var(--bad); }
img { display: block; width: 100%; height: auto; margin: 6px 0 12px; }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13.5px; }
th { text-align: left; font-weight: 500; color: var(--muted); font-size: 13px; vertical-align: bottom; }
th, td { padding: 7px 10px 7px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; }
td small { display: block; color: var(--muted); font-size: 11.5px; white-space: nowrap; }
tr.first td { border-top: 2px solid var(--line); }
code, pre { font: 12px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere;
  white-space: pre-wrap; }
summary { cursor: pointer; color: var(--muted); font-size: 13px; }
footer { margin-top: 28px; color: var(--muted); font-size: 13px; }
@media print { body { background: #fff; } section { break-inside: avoid; } }
"""


def render(tables: Sequence[Table]) -> str:
    """The page of the tables that there are. It names no image and shows none."""
    verdicts = "".join(_verdict(table) for table in tables)
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(CONTENT_SECURITY_POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Does the synthetic data work?</title>\n<style>{_STYLESHEET}</style></head>\n<body><main>\n"
        '<header><p class="kind">Experiment</p><h1>Does the synthetic data work?</h1>'
        f"{verdicts}</header>\n" + "\n".join(_section(table) for table in tables) + "\n" + _reading() + "\n"
        "<footer>Made by sharekit experiment. This page loads nothing. Published values: "
        f"{escape(published.CITATION)}.</footer>\n</main></body></html>\n"
    )


def _verdict(table: Table) -> str:
    found = answer(table.name, table.cells)
    mood = found.mood if not table.waiting else Mood.WARN
    done = f"{len(table.cells)} of {table.expected} cells are done"
    if table.failures:
        done += f", {len(table.failures)} failed"
    if table.waiting:
        done += ": what is said here is of a part"
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in found.reasons)
    return (
        f'<div class="verdict {mood}"><small>{escape(TITLES[table.name])} · {escape(done)}</small>'
        f"{escape(found.verdict)}<ul>{reasons}</ul></div>"
    )


def _section(table: Table) -> str:
    rows = table.rows
    parts = [f"<h2>{escape(TITLES[table.name])}</h2><p>{escape(_ABOUT[table.name])}</p>"]
    if rows:
        draw = plots.iou_by_arm if table.name == "table1" else plots.iou_by_real_images
        parts.append(_plot(draw(rows, table.cells), "IoU on the held-out fold, by arm"))
        parts.append(_rows(rows))
    if table.histograms:
        parts.append(
            "<h3>True pixels</h3><p>How much of an image its mask marks, in bins of 5 %: of the masks that "
            "were trained on.</p>"
            + _plot(plots.true_pixels(table.histograms), "Histograms of true pixels, real against synthetic")
        )
    parts += [_failures(table.failures), _made(table)]
    return "<section>" + "".join(parts) + "</section>"


def _rows(rows: Sequence[Row]) -> str:
    by_images = rows[0].images is not None
    numbers = [f'<th class="number">{name}</th>' for name in (*_METRICS.values(), *_MORE_COLUMNS)]
    header = ('<th class="number">R</th>' if by_images else "") + _FIRST_COLUMN + "".join(numbers)
    body, before = "", object()
    for row in rows:
        first = ' class="first"' if by_images and row.images != before else ""
        before = row.images
        images = f'<td class="number">{row.images}</td>' if by_images else ""
        scores = "".join(_cell(row.best[name]) for name in _METRICS)
        body += (
            f"<tr{first}>{images}<td>{escape(row.arm)}<small>{row.real_images:.0f} + "
            f"{row.synthetic_images:.0f} images, {row.cells} cell{'s' * (row.cells != 1)}</small></td>"
            f"{scores}{_cell(row.last[IOU])}{_comparison(row)}"
            f'<td class="number">{_DASH if row.paper is None else row.paper}</td></tr>'
        )
    return f'<div class="wide"><table><tr>{header}</tr>{body}</table></div>'


def _cell(score: Interval) -> str:
    bounds = f"<small>{score.low:.3f} to {score.high:.3f}</small>" if score.count > 1 else ""
    return f'<td class="number">{score.mean:.3f}{bounds}</td>'


def _comparison(row: Row) -> str:
    if row.difference is None:
        return f'<td class="number">{_DASH}</td>'
    share = _DASH if row.ratio is None else percent(row.ratio)
    return f'<td class="number">{escape(share)}<small>{escape(signed(row.difference))}</small></td>'


def _failures(failures: Sequence[Failure]) -> str:
    if not failures:
        return ""
    items = "".join(
        f"<li>{escape(each.arm)}{'' if each.images is None else f', R = {each.images}'}, fold "
        f"{escape(each.held)} held out, seed {each.seed}: {escape(each.reason)}</li>"
        for each in failures
    )
    return f"<h3>Cells without a result</h3><ul>{items}</ul>"


def _made(table: Table) -> str:
    folds = "; ".join(
        f"fold {label}: {fold['images']} images, {fold['trained']} trained on, {fold['generators']} "
        "generators released"
        for label, fold in table.folds.items()
    )
    settings = json.dumps(table.settings, indent=2, ensure_ascii=False)
    return (
        f"<details><summary>how it was made</summary><p>{escape(folds)}.</p>"
        f"<pre>{escape(settings)}</pre></details>"
    )


def _reading() -> str:
    return (
        "<section><h2>How to read this</h2><p>Scores are of the foreground class, means over the images of "
        "the held-out fold. The weights with the best IoU on that fold are taken, which is the paper's rule; "
        "it flatters every arm, so the last weights stand beside them. Below each mean is a 95 % interval by "
        "nested bootstrap, over the folds and then the seeds: with three of each it is rough, and with one "
        "cell it is that cell. The comparison is paired: same fold, same seed, same real images. A verdict "
        "rests on the difference alone. Its 95 % interval is Student's t over the means of the held-out "
        "folds where there are at least two, and otherwise over the seeds: then it speaks of that fold "
        "alone. There is no share in % where real data give nothing.</p></section>"
    )


def _plot(svg: bytes, text: str) -> str:
    data = base64.b64encode(svg).decode()
    return f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(text)}">'
