"""How the report looks."""

STYLESHEET = """
:root { --ink: #1f2933; --muted: #616e7c; --line: #e4e7eb; --good: #2f855a; --warn: #b7791f; --bad: #c53030;
  --serif: Georgia, "Liberation Serif", serif; }
* { box-sizing: border-box; }
body { margin: 0; background: #f7f8f9; color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 44px 28px 72px; }
header p { margin: 0; color: var(--muted); font-size: 13px; letter-spacing: .06em;
  text-transform: uppercase; }
h1 { margin: 2px 0 18px; font: 600 32px/1.2 var(--serif); overflow-wrap: anywhere; }
h2 { margin: 0 0 4px; font: 600 20px/1.3 var(--serif); }
h3 { margin: 14px 0 0; font-size: 15px; }
section { margin-top: 28px; padding: 24px 26px; background: #fff; border: 1px solid var(--line);
  border-radius: 10px; }
section > p { margin: 0 0 14px; color: var(--muted); max-width: 80ch; }
.verdict { padding: 14px 18px; border-left: 5px solid; border-radius: 4px; background: #fff;
  font-size: 18px; }
.verdict small { display: block; color: var(--muted); font-size: 14px; overflow-wrap: anywhere; }
.good { border-color: var(--good); } .warn { border-color: var(--warn); } .bad { border-color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 14px;
  margin-top: 20px; }
.tile { padding: 14px 16px; background: #fff; border: 1px solid var(--line); border-radius: 10px; }
.tile b { display: block; font: 600 25px/1.2 var(--serif); }
.tile span { color: var(--muted); font-size: 13px; overflow-wrap: anywhere; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(148px, 1fr)); gap: 16px 14px;
  align-items: end; }
figure { margin: 0; }
figure img { display: block; width: 100%; border-radius: 5px; background: #eef0f2; }
figcaption { display: flex; justify-content: space-between; gap: 8px; margin-top: 4px; color: var(--muted);
  font-size: 12px; white-space: nowrap; }
figcaption span { overflow: hidden; text-overflow: ellipsis; }
img.plot { display: block; width: 100%; height: auto; margin: 6px 0 12px; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; color: var(--muted); font-size: 13px; }
th, td { padding: 8px 12px 8px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
td small { display: block; color: var(--muted); font-size: 12px; }
dl { margin: 10px 0 0; }
dt { padding-left: 14px; border-left: 4px solid; font-weight: 600; }
dd { margin: 0 0 14px; padding-left: 14px; border-left: 4px solid transparent; max-width: 88ch; }
dd:last-child { margin-bottom: 0; }
.plain { border-color: #7b8794; }
figcaption b { color: var(--bad); font-weight: 600; }
code { font: 12.5px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
details { color: var(--muted); font-size: 13px; }
summary { cursor: pointer; }
details code { display: block; }
.badge { display: inline-block; padding: 1px 9px; border-radius: 10px; color: #fff; font-size: 12px; }
.badge.error { background: var(--bad); }
.badge.warning { background: var(--warn); }
.badge.note { background: #7b8794; }
.key { display: inline-block; width: 22px; height: 4px; margin: 0 6px 3px 8px; border-radius: 2px; }
footer { margin-top: 28px; color: var(--muted); font-size: 13px; }
@media print { body { background: #fff; } section, .tile { break-inside: avoid; } }
"""
