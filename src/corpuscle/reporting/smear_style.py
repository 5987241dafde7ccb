"""The look of a smear report: one style sheet for the screen and for paper, without anything from outside."""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """
:root { color-scheme: light; --ink: #1c232d; --muted: #58616d; --rule: #d6dbe1; --back: #fff; --page: #f6f7f9;
  --usual: #dbe7f5; --point: #1260c4; --caution: #c34c10; }
@media screen and (prefers-color-scheme: dark) { :root { color-scheme: dark; --ink: #e6eaef; --muted: #a3adb9;
  --rule: #3a424d; --back: #14181d; --page: #20262d; --usual: #2c4765; --point: #6fb0ff; --caution: #ff9a5c; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1rem; max-width: 60rem; color: var(--ink); background: var(--back);
  font: 16px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; overflow-wrap: break-word; }
ul { padding-left: 1.2rem; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; padding-top: .8rem; border-top: 1px solid var(--rule); }
p.notice { margin: 0 0 1rem; padding: .6rem .9rem; border: 2px solid var(--caution); font-weight: 600; }
p.warning { padding: .5rem .9rem; border-left: 4px solid var(--caution); background: var(--page); }
.muted, figcaption { color: var(--muted); font-size: .88rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .7rem .25rem 0; border-bottom: 1px solid var(--rule); vertical-align: top;
  overflow-wrap: anywhere; }
th { color: var(--muted); font-weight: 600; font-size: .85rem; }
td.number, th.number { text-align: right; overflow-wrap: normal; }
td.range { white-space: nowrap; }
td.hash { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .72rem; word-break: break-all; }
.outside { font-weight: 700; color: var(--caution); }
figcaption { overflow-wrap: anywhere; }
figure { margin: 0 0 1rem; break-inside: avoid; }
figure.field img { width: 100%; border: 1px solid var(--rule); }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)); gap: .7rem .6rem; }
.gallery figure { min-width: 0; margin: 0; font-size: .75rem; }
.gallery img { width: 96px; height: 96px; border: 2px solid var(--rule); }
.gallery figure.refused img { border: 2px dashed var(--caution); }
.bar { position: relative; height: .7rem; margin-top: .45rem; min-width: 7rem; background: var(--page); }
.bar span { position: absolute; top: 0; height: 100%; }
.bar .usual { background: var(--usual); }
.bar .interval { background: var(--point); opacity: .55; }
.bar .value { width: 2px; background: var(--ink); }
@media (max-width: 40rem) { body { padding: 1rem .8rem; } table.rows, table.rows tbody, table.rows tr,
  table.rows td { display: block; } table.rows tr:first-child { display: none; }
  table.rows td { border: 0; padding: 0; } table.rows tr { padding: .5rem 0; border-bottom: 1px solid var(--rule); }
  table.rows td.number { text-align: left; }
  table.rows td[data-head]:not(:empty)::before { content: attr(data-head) ": "; color: var(--muted); }
  td.bar-cell, th.bar-cell { display: none; } th, td { padding-right: .45rem; } }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } h2 { break-after: avoid; }
  tr { break-inside: avoid; } }
@page { size: A4; margin: 16mm; }
"""
