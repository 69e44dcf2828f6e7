"""The style sheet of the HTML report: light or dark as the reader's system is set."""

CSS = """
:root { color-scheme: light dark; --paper: #ffffff; --card: #f6f7f9; --ink: #1c2026; --muted: #646b76;
  --line: #e1e4e9; --bar: #4a7fc1; --bad: #b3261e; --warn-paper: #fff4e0; --warn-ink: #7a4300; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171c; --card: #1d2128; --ink: #e6e9ee; --muted: #99a1ad; --line: #2f353f;
    --bar: #6a9ddb; --bad: #ff8a80; --warn-paper: #3a2c14; --warn-ink: #ffd08a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 72rem;
  background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; margin: 0; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.6rem 0 0.8rem; }
p { margin: 0.4rem 0; }
.muted { color: var(--muted); }
.bad { color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: 0.8rem;
  margin: 1.5rem 0; }
.tile { background: var(--card); border-radius: 8px; padding: 0.8rem 1rem; }
.tile b { display: block; font-size: 1.5rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.tile span { color: var(--muted); font-size: 0.85rem; }
.warning { background: var(--warn-paper); color: var(--warn-ink); border-radius: 8px; padding: 0.7rem 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th { color: var(--muted); font-weight: 500; font-size: 0.85rem; text-align: left; }
th, td { padding: 0.3rem 0.9rem 0.3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.bar { width: 22%; min-width: 6rem; vertical-align: middle; }
td.bar i { display: block; height: 0.65rem; border-radius: 2px; background: var(--bar); min-width: 1px; }
td.wrap { overflow-wrap: anywhere; }
.swatch { display: inline-block; width: 0.8rem; height: 0.8rem; border-radius: 50%; margin-right: 0.55rem;
  vertical-align: -0.08rem; border: 1px solid var(--line); }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: 0 2.5rem; }
.columns { display: flex; align-items: flex-end; gap: 3px; height: 9rem;
  border-bottom: 1px solid var(--line); }
.columns i { flex: 1; background: var(--bar); border-radius: 2px 2px 0 0; min-height: 1px; }
.scale { display: flex; justify-content: space-between; color: var(--muted); font-size: 0.8rem; }
figure { margin: 1.2rem 0 2rem; }
figure label { display: block; overflow-x: auto; cursor: zoom-in; }
figure input { position: absolute; opacity: 0; }
figure img { display: block; width: 100%; height: auto; border-radius: 6px; border: 1px solid var(--line); }
figure input:checked + img { width: auto; max-width: none; cursor: zoom-out; }
canvas { width: 100%; background: var(--card); border-radius: 6px; cursor: grab; touch-action: none; }
figcaption { color: var(--muted); font-size: 0.9rem; margin-top: 0.4rem; overflow-wrap: anywhere; }
code, pre { font: 0.85rem/1.45 ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
pre { background: var(--card); border-radius: 8px; padding: 0.8rem 1rem; overflow-x: auto;
  white-space: pre-wrap; }
summary { cursor: pointer; color: var(--muted); }
@media print { body { max-width: none; } figure { break-inside: avoid; } }
"""
