"""The style sheet of the page: photos first, light and dark, from a telephone to a wide screen."""

from resight.report.markup import Markup

STYLE = Markup(
    """
:root {
  color-scheme: light dark;
  --ground: #f6f5f1; --card: #ffffff; --sunk: #eceae4; --line: #dcd9d0;
  --text: #1d1e20; --quiet: #5d6068; --accent: #0f6b72; --on-accent: #ffffff;
  --keep: #1d7a3e; --keep-soft: #dff1e3; --copy: #b4530a; --copy-soft: #fbe8d6;
  --near-soft: #dceef0; --bar: #8fb9bc; --bad0: #b4530a; --bad1: #9b2c3b; --bad2: #6b4fa0;
  --bad3: #8a6d00; --bad4: #5d6068; --shadow: 0 1px 2px rgb(0 0 0 / 6%), 0 4px 14px rgb(0 0 0 / 4%);
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #131416; --card: #1c1e21; --sunk: #26292d; --line: #34383d;
    --text: #ecebe7; --quiet: #a3a8b0; --accent: #6cc9cf; --on-accent: #0b2426;
    --keep: #74d191; --keep-soft: #1c3826; --copy: #f0a35e; --copy-soft: #40291a;
    --near-soft: #19373a; --bar: #3f7377; --bad0: #f0a35e; --bad1: #f08a97; --bad2: #b9a3ea;
    --bad3: #e0c35a; --bad4: #a3a8b0; --shadow: none;
  }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
html { scroll-padding-top: 4rem; -webkit-text-size-adjust: 100%; }
@media (prefers-reduced-motion: no-preference) { html { scroll-behavior: smooth; } }
body {
  margin: 0; background: var(--ground); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere;
}
.top, main, nav ul { max-width: 1240px; margin-inline: auto; padding-inline: clamp(14px, 3vw, 32px); }
.top { padding-block: clamp(20px, 4vw, 44px) 12px; }
h1 { margin: 0; font-size: clamp(1.6rem, 4vw, 2.3rem); line-height: 1.15; letter-spacing: -.02em; }
h2 { margin: 0 0 .7rem; font-size: 1.4rem; letter-spacing: -.01em; }
h3 { margin: 1.6rem 0 .5rem; font-size: 1rem; }
p { margin: 0 0 .5rem; }
small { font-size: .85em; font-weight: 400; color: var(--quiet); }
code { font: .88em/1.4 ui-monospace, "DejaVu Sans Mono", monospace; }
a { color: var(--accent); }
.note, .detail, .size, .more, .empty { color: var(--quiet); }
.note { max-width: 74ch; }
.strong { font-weight: 650; }
.empty {
  margin: 0; padding: 18px 20px; border: 1px dashed var(--line); border-radius: 12px;
}
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; border-radius: 4px; }
main:focus { outline: none; }
.skip { position: absolute; left: -100vw; padding: 8px 14px; background: var(--card); z-index: 3; }
.skip:focus { left: 8px; top: 8px; }
nav {
  position: sticky; top: 0; z-index: 2; background: var(--ground); border-bottom: 1px solid var(--line);
}
nav ul {
  display: flex; gap: 4px; list-style: none; margin-block: 0; overflow-x: auto; scrollbar-width: none;
}
nav a {
  display: block; padding: 12px 10px; color: var(--quiet); text-decoration: none; white-space: nowrap;
}
nav li:first-child a { margin-left: -10px; }
nav a:hover { color: var(--accent); }
nav a:focus-visible { outline-offset: -4px; }
section { padding-block: 34px 8px; }

.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 0; }
.tiles > div, .group, .cards > article {
  background: var(--card); border: 1px solid var(--line); border-radius: 14px; box-shadow: var(--shadow);
}
.tiles > div { padding: 14px 18px; }
.tiles dt { color: var(--quiet); font-size: .9rem; }
.tiles dd { margin: 0; font-size: .9rem; }
.tiles .figure {
  font-size: clamp(1.5rem, 4vw, 2.1rem); line-height: 1.25; font-weight: 650; letter-spacing: -.02em;
}
.share { display: block; border-radius: 7px; background: var(--sunk); }
.fill-ok { fill: var(--keep); } .back-ok { background: var(--keep); }
.fill-bad0 { fill: var(--bad0); } .back-bad0 { background: var(--bad0); }
.fill-bad1 { fill: var(--bad1); } .back-bad1 { background: var(--bad1); }
.fill-bad2 { fill: var(--bad2); } .back-bad2 { background: var(--bad2); }
.fill-bad3 { fill: var(--bad3); } .back-bad3 { background: var(--bad3); }
.fill-bad4 { fill: var(--bad4); } .back-bad4 { background: var(--bad4); }
.swatch { display: inline-block; width: .7em; height: .7em; border-radius: 3px; margin-right: 2px; }
.legend, .plain { list-style: none; padding: 0; margin: 8px 0; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 20px; }
.pair { display: inline-block; margin: 0 14px 2px 0; }
.builds li { padding: 10px 0; border-top: 1px solid var(--line); }
.builds p { margin: 0; }
.settings { font-size: .9rem; color: var(--quiet); }
.settings code { color: var(--text); }
table { border-collapse: collapse; width: 100%; font-size: .95rem; overflow-wrap: normal; }
th, td {
  padding: 7px 16px 7px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
}
thead th { color: var(--quiet); font-weight: 500; font-size: .85rem; white-space: nowrap; }
tbody th { font-weight: 550; }
.number { white-space: nowrap; }
tbody small { display: block; }
.scroller { overflow-x: auto; }
details { margin-top: 12px; }
summary { cursor: pointer; padding: 6px 0; font-weight: 550; }

#filter {
  display: flex; flex-wrap: wrap; align-items: end; gap: 10px 28px; margin: 14px 0 18px;
}
#filter > *, fieldset label { min-width: 0; max-width: 100%; }
#filter p { margin: 0; display: flex; flex-wrap: wrap; align-items: center; gap: 8px; }
#filter #shown { margin-left: auto; }
fieldset { border: 0; padding: 0; margin: 0; display: flex; flex-wrap: wrap; gap: 8px; min-width: 0; }
legend { color: var(--quiet); font-size: .85rem; margin-bottom: 4px; padding: 0; }
fieldset label { display: inline-flex; align-items: center; gap: 6px; cursor: pointer; padding: 3px 0; }
input { accent-color: var(--accent); margin: 0; }
input[type=checkbox] { width: 17px; height: 17px; }
input[type=range] { width: 170px; }
.chip {
  display: inline-block; padding: 1px 9px; border-radius: 999px; font-size: .82rem; line-height: 1.5;
  background: var(--sunk); white-space: nowrap; max-width: 100%; overflow: hidden; text-overflow: ellipsis;
  vertical-align: bottom;
}
.chip.keep { background: var(--keep); color: var(--card); font-weight: 650; }
.chip.exact, .chip.same-pixels { background: var(--copy-soft); color: var(--copy); }
.chip.near { background: var(--near-soft); color: var(--accent); }

#groups {
  display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 16px; margin-bottom: 16px;
}
.group { grid-column: span 2; padding: 4px 18px 14px; }
.couple, .small { grid-column: span 1; }
.group h3 { margin: 12px 0 10px; }
.members { display: grid; grid-template-columns: minmax(220px, 290px) minmax(0, 1fr); gap: 22px; }
.couple .members { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 16px; }
.small .members { grid-template-columns: minmax(0, 2fr) minmax(0, 3fr); gap: 16px; }
.couple .copies { grid-template-columns: minmax(0, 1fr); }
.couple .copies .photo img, .couple .copies .photo.none { height: 200px; }
.couple figcaption { padding-top: 10px; }
.small .copies { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 12px; }
figure { margin: 0; min-width: 0; }
figcaption { padding-top: 6px; font-size: .88rem; line-height: 1.4; }
figcaption p { margin: 0 0 2px; }
.copies {
  list-style: none; margin: 0; padding: 0; display: grid; gap: 16px; align-content: start;
  grid-template-columns: repeat(auto-fill, minmax(150px, 1fr));
}
.photo {
  display: block; width: 100%; padding: 0; border: 0; border-radius: 10px; overflow: hidden; font: inherit;
  background: var(--sunk); color: var(--quiet); cursor: zoom-in;
}
.photo img { display: block; width: 100%; height: 130px; object-fit: contain; }
.photo:hover { box-shadow: 0 0 0 2px var(--accent); }
.photo.none { display: grid; place-items: center; height: 130px; cursor: default; font-size: .85rem; }
.photo.none:hover { box-shadow: none; }
.kept .photo { box-shadow: 0 0 0 3px var(--keep); }
.kept .photo img, .kept .photo.none { height: 200px; }
.kept figcaption { padding-top: 10px; }
.similarity { font-weight: 650; }
.uri { display: block; }
.uri .folder {
  display: block; overflow: hidden; white-space: nowrap; text-overflow: ellipsis; color: var(--quiet);
  font-size: .92em;
}
.uri .name { display: -webkit-box; -webkit-line-clamp: 2; -webkit-box-orient: vertical; overflow: hidden; }
.reason { color: var(--quiet); }
.group > .more { margin: 12px 0 0; }
.cuts {
  list-style: none; padding: 0; display: grid; gap: 20px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr));
}
.pair-of-photos {
  display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 8px; margin-bottom: 6px;
}
.cuts li > p { font-size: .9rem; color: var(--quiet); }

.strip { display: flex; gap: 12px; list-style: none; margin: 0; padding: 4px 4px 12px; }
.strip li { flex: 0 0 132px; }
.strip li:first-child { flex-basis: 168px; padding-right: 12px; border-right: 1px solid var(--line); }
.strip .photo img, .strip .photo.none { height: 112px; }
.strip .copy .photo { box-shadow: 0 0 0 3px var(--copy); }
.strip .copy .similarity { color: var(--copy); }
div[data-set] + div[data-set] { border-top: 1px solid var(--line); padding-top: 14px; }

.histogram { display: block; overflow: visible; max-width: 900px; margin-top: 14px; }
.bar { fill: var(--bar); } .bar.copy { fill: var(--copy); }
.bar:hover { opacity: .75; }
.grid { stroke: var(--line); stroke-width: 1; }
.tick { fill: var(--quiet); font-size: 12px; }
.threshold { stroke: var(--copy); stroke-width: 2; stroke-dasharray: 5 4; }
.threshold-name { fill: var(--copy); font-size: 13px; font-weight: 600; }
.cards { columns: 340px; column-gap: 14px; }
.cards > article { padding: 16px 18px 10px; margin-bottom: 14px; break-inside: avoid; }
.cards h3 { margin: 0 0 2px; font-size: 1.05rem; }
.examples { margin: 2px 0 12px; padding-left: 12px; border-left: 2px solid var(--line); font-size: .88rem; }
.interval { width: 190px; overflow: visible; }
.rail { stroke: var(--line); stroke-width: 2; }
.whisker { stroke: var(--accent); stroke-width: 10; opacity: .4; }
.dot { fill: var(--accent); }

dialog {
  border: 0; border-radius: 16px; padding: 16px; background: var(--card); color: var(--text);
  width: min(94vw, 900px); max-height: 94vh; box-shadow: 0 20px 80px rgb(0 0 0 / 45%);
}
dialog::backdrop { background: rgb(0 0 0 / 70%); }
dialog img { display: block; width: 100%; height: min(66vh, 640px); object-fit: contain; }
dialog figcaption { text-align: center; }
.controls { display: flex; gap: 10px; align-items: center; justify-content: center; margin: 12px 0 0; }
.controls button {
  font: inherit; padding: 7px 16px; border: 1px solid var(--line); border-radius: 999px; cursor: pointer;
  background: var(--sunk); color: var(--text);
}
.controls button:disabled { opacity: .4; cursor: default; }

@media (max-width: 940px) { .couple, .small { grid-column: span 2; } }
@media (max-width: 640px) {
  .members, .small .members { grid-template-columns: minmax(0, 1fr); gap: 16px; }
  .couple .members { gap: 12px; }
  .kept .photo img, .kept .photo.none, .couple .copies .photo img { height: 140px; }
  .group:not(.couple) .kept {
    display: grid; grid-template-columns: 45% minmax(0, 1fr); gap: 14px; align-items: start;
  }
  .group:not(.couple) .kept figcaption { padding-top: 0; }
  .group:not(.couple) .copies { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 14px 12px; }
  .group { padding-inline: 14px; }
  #filter #shown { margin-left: 0; }
  .tiles { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); }
  .tiles > div { padding: 12px 14px; }
  .strip li { flex-basis: 112px; }
  .interval { width: 110px; }
  .strip li:first-child {
    flex-basis: 128px; position: sticky; left: 0; background: var(--ground); z-index: 1;
  }
}
@media print {
  nav, #filter, .skip { display: none; }
  .group, .cards > article { break-inside: avoid; box-shadow: none; }
}
"""
)
