"""Script and style of the comparison of a copy with the kept photo, and of the marks."""

from resight.report.markup import Markup

COMPARE_SCRIPT = Markup(
    """
(() => {
  const dialog = document.getElementById("compare");
  const part = (name) => dialog.querySelector(name);
  const stage = part(".stage"), under = part(".under"), over = part(".over"), form = part("form");
  let place = [], opener = null;

  // A map of unit squares becomes one of boxes of w x h pixels, as matrix3d wants it: column by column.
  const matrix = (m, w, h) => {
    const [a, b, c, d, e, f, g, i, j] = m;
    const cells = [a, d * h / w, 0, g / w, b * w / h, e, 0, i / h, 0, 0, 1, 0, c * w, f * h, 0, j];
    return "matrix3d(" + cells.join(",") + ")";
  };
  const draw = () => {
    const mode = form.mode.value, aside = mode === "side";
    const ratio = under.naturalWidth / under.naturalHeight || 1;
    const room = Math.min(stage.parentElement.clientWidth - 32, 1100);
    const h = Math.min(0.6 * window.innerHeight, (aside ? room / 2 - 6 : room) / ratio), w = h * ratio;
    stage.className = "stage " + mode;
    for (const image of [under, over]) {
      image.style.width = w + "px";
      image.style.height = h + "px";
    }
    over.style.objectFit = aside ? "contain" : "fill";
    over.style.transform = aside ? "none" : matrix(place, w, h);
    over.style.opacity = mode === "overlay" ? form.opacity.value : 1;
    stage.style.width = aside ? "auto" : w + "px";
    stage.style.height = aside ? "auto" : h + "px";
    part(".opacity").hidden = mode !== "overlay";
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.compare");
    if (!button) return;
    const set = button.closest("[data-set]"), own = button.closest("[data-copy]") ?? set;
    const kept = set.querySelector(".kept img") ?? set.querySelector("img");
    const copies = own.querySelectorAll("img"), copy = copies[copies.length - 1];
    if (!kept || !copy || kept === copy) return;
    opener = button;
    place = button.dataset.place.split(" ").map(Number);
    under.src = kept.src;
    under.alt = kept.alt;
    over.src = copy.src;
    over.alt = copy.alt;
    part(".facts").textContent = button.dataset.evidence;
    form.mode.value = "side";
    dialog.showModal();
    Promise.allSettled([under.decode(), over.decode()]).then(draw);
  });
  form.addEventListener("input", draw);
  form.addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("resize", () => dialog.open && draw());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => opener?.focus());
  part(".close").addEventListener("click", () => dialog.close());

  const tools = [...document.querySelectorAll(".tools")];
  for (const tool of tools) tool.hidden = false;
  const line = document.getElementById("marks");
  if (!line) return;
  const marks = [...document.querySelectorAll("input.mark")];
  const chosen = () => marks.filter((mark) => mark.checked);
  const count = () => {
    const n = chosen().length;
    document.getElementById("marked").textContent = n.toLocaleString("en") + " marked";
    document.getElementById("export").disabled = n === 0;
  };
  // A cell that a spreadsheet would run gets "./" before a path, as in the lists of find-duplicates.
  const cell = (text, isPath) => {
    const runs = /^ *[=+\\-@\\t\\r\\n\\uff1d\\uff0b\\uff0d\\uff20]/.test(text);
    return '"' + ((runs ? (isPath ? "./" : "'") : "") + text).replaceAll('"', '""') + '"';
  };
  const list = () => {
    const rows = chosen().map((mark) => {
      const { image, group, uri, relation } = mark.closest("[data-copy]").dataset;
      return [cell(image), cell(uri, true), cell(group), cell(relation)].join(",");
    });
    return ["image_id,uri,group_id,relation", ...rows].join("\\n") + "\\n";
  };
  document.addEventListener("change", (event) => event.target.matches("input.mark") && count());
  document.getElementById("mark-all").addEventListener("click", () => {
    for (const mark of marks) if (!mark.closest("[data-copy][hidden], article[hidden]")) mark.checked = true;
    count();
  });
  document.getElementById("mark-none").addEventListener("click", () => {
    for (const mark of marks) mark.checked = false;
    count();
  });
  document.getElementById("export").addEventListener("click", () => {
    const address = URL.createObjectURL(new Blob([list()], { type: "text/csv" }));
    const link = Object.assign(document.createElement("a"), { href: address, download: "marked.csv" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  });
  line.hidden = false;
  count();
})();
"""
)
COMPARE_STYLE = Markup(
    """
.tools { display: flex; flex-wrap: wrap; align-items: center; gap: 6px 12px; margin: 6px 0 0; }
.tools label { display: inline-flex; align-items: center; gap: 6px; cursor: pointer; }
.tools button, #marks button, #compare button {
  font: inherit; font-size: .88rem; padding: 3px 12px; border: 1px solid var(--line); cursor: pointer;
  border-radius: 999px; background: var(--sunk); color: var(--text);
}
#marks { display: flex; flex-wrap: wrap; align-items: center; gap: 8px 10px; margin: 0 0 18px; }
#marks button:disabled { opacity: .45; cursor: default; }
#compare { width: min(96vw, 1160px); }
#compare .stage { position: relative; overflow: hidden; margin: 0 auto; isolation: isolate; }
#compare .stage.side { display: flex; flex-wrap: nowrap; justify-content: center; gap: 12px; }
#compare .stage img { max-width: none; object-fit: contain; background: var(--sunk); }
#compare .stage.overlay, #compare .stage.difference { background: #000; }
#compare .overlay img, #compare .difference img {
  position: absolute; left: 0; top: 0; object-fit: fill; transform-origin: 0 0; background: none;
}
#compare .difference .over { mix-blend-mode: difference; }
#compare .facts { margin: 10px 0 0; text-align: center; color: var(--quiet); }
#compare .controls { flex-wrap: wrap; }
#compare fieldset { flex-wrap: wrap; align-items: center; gap: 4px 14px; }
#compare .opacity { margin: 0; display: flex; align-items: center; gap: 8px; }
.chip.turned, .chip.mirrored, .chip.crop, .chip.contains {
  background: var(--near-soft); color: var(--accent);
}
.chip.composite, .chip.same-scene { background: var(--sunk); color: var(--quiet); }
@media print { .tools, #marks { display: none; } }
"""
)
