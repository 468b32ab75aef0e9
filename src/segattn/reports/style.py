"""The style sheet of `report.html`: light and dark, wide and narrow."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --ink: #1a1f2b; --quiet: #667085; --line: #e4e7ec;
  --track: #eef0f4; --accent: #2457a6; --warn: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --page: #12151c; --card: #1a1f29; --ink: #e8ebf1; --quiet: #98a2b3;
  --line: #2c3340; --track: #262c38; --accent: #7aa7f0; --warn: #e3b341; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink); line-height: 1.45;
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 0 0 4px; }
h3 { font-size: 15px; margin: 28px 0 10px; }
p { margin: 0 0 12px; }
.quiet { color: var(--quiet); }
.warn { color: var(--warn); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 20px;
  margin-top: 18px; }
.num { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.scores { display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); gap: 12px; margin-top: 22px; }
.score { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 18px; }
.score b { display: block; font-size: 30px; line-height: 1.15; font-variant-numeric: tabular-nums; }
.score.main b { color: var(--accent); }
.score span { color: var(--quiet); font-size: 13px; }
.protocol { display: flex; flex-wrap: wrap; gap: 6px; margin: 16px 0 0; align-items: center; }
.protocol span { border: 1px solid var(--line); background: var(--card); border-radius: 99px; padding: 2px 10px;
  font-size: 13px; color: var(--quiet); }
.protocol .name { color: var(--ink); font-weight: 600; }
.scroll { overflow: auto; }
.tall { max-height: 640px; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; }
.classes { width: 100%; }
.classes th { position: sticky; top: 0; background: var(--card); color: var(--quiet); font-size: 13px;
  font-weight: 500; text-align: left; z-index: 1; }
.classes th.num { text-align: right; }
.classes td, .classes th { padding: 5px 10px; border-bottom: 1px solid var(--line); }
.classes td:first-child, .classes th:first-child { padding-left: 0; }
.classes td:last-child, .classes th:last-child { padding-right: 4px; }
.classes .bars { width: 34%; }
.classes tfoot td { font-weight: 600; border-bottom: 0; }
.classes .none td { color: var(--quiet); }
.swatch { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 8px;
  vertical-align: -1px; box-shadow: inset 0 0 0 1px rgb(128 128 128 / 45%); flex: none; }
.bar { height: 12px; border-radius: 3px; background: var(--track); overflow: hidden; }
.bar + .bar { height: 4px; margin-top: 2px; opacity: .55; }
.bar i { display: block; height: 100%; border-radius: 3px; box-shadow: inset 0 0 0 1px rgb(128 128 128 / 45%); }
.confusion { font-size: 12px; margin: 4px 0 0; }
.confusion th { font-weight: 400; color: var(--quiet); text-align: right; padding: 0 8px 0 0; white-space: nowrap;
  position: sticky; left: 0; background: var(--card); z-index: 1; }
.confusion thead th { position: static; padding: 0; vertical-align: bottom; }
.confusion thead div { writing-mode: vertical-rl; transform: rotate(180deg); margin: 0 auto; padding-top: 6px; }
.confusion td { min-width: 34px; height: 30px; text-align: center; border: 1px solid var(--card); padding: 0 2px;
  background: var(--track); font-variant-numeric: tabular-nums; border-radius: 3px; }
.confusion td.on { color: #fff; }
.confusion td.none { background: none; color: var(--quiet); }
.heat { display: block; width: 560px; image-rendering: pixelated; background: var(--track);
  border-radius: 4px; }
.beside { display: flex; flex-wrap: wrap; gap: 20px 40px; align-items: flex-start; }
.beside > * { min-width: 0; max-width: 100%; }
.beside > :last-child { flex: 1 1 340px; max-width: 640px; }
.pairs { width: 100%; font-size: 14px; }
.pairs td, .pairs th { padding: 4px 8px 4px 0; border-bottom: 1px solid var(--line); text-align: left; }
.pairs th { color: var(--quiet); font-weight: 500; font-size: 13px; }
.pairs .num { text-align: right; padding-right: 0; }
.key { display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: 13px; color: var(--quiet); }
.key span { white-space: nowrap; }
.image { border-top: 1px solid var(--line); padding: 14px 0 18px; }
.image header { display: flex; flex-wrap: wrap; gap: 2px 16px; align-items: baseline; margin-bottom: 8px; }
.image header b { overflow-wrap: anywhere; }
.views { display: grid; grid-template-columns: repeat(4, 1fr); gap: 10px; }
figure { margin: 0; min-width: 0; }
figure img { display: block; width: 100%; height: auto; border-radius: 4px; background: var(--track); }
figcaption { font-size: 12px; color: var(--quiet); margin-top: 3px; }
.image .key { margin-top: 8px; }
@media (max-width: 760px) {
  main { padding: 20px 12px 48px; }
  section { padding: 16px 14px; }
  h1 { font-size: 22px; }
  .scores { grid-template-columns: repeat(2, 1fr); gap: 8px; }
  .score { padding: 10px 14px; }
  .score b { font-size: 24px; }
  .views { grid-template-columns: repeat(2, 1fr); }
  .classes tr { display: grid; grid-template-columns: minmax(0, 1fr) 52px 70px 68px; align-items: baseline;
    border-bottom: 1px solid var(--line); padding: 5px 0 7px; }
  .classes thead { position: sticky; top: 0; background: var(--card); z-index: 1; }
  .classes td, .classes th { padding: 0; border: 0; }
  .classes td.bars { order: 1; grid-column: 1 / -1; width: auto; margin-top: 3px; }
  .classes th.bars { display: none; }
}
@media print { .tall { max-height: none; } section, .image { break-inside: avoid-page; } }
"""
