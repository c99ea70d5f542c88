"""The few lines of script of the page: the filter of the groups, and the viewer of photos."""

from resight.report.markup import Markup

SCRIPT = Markup(
    """
"use strict";
(() => {
  const form = document.getElementById("filter");
  if (form) {
    const groups = [...document.querySelectorAll("article.group")];
    const count = (n, one, many) => n.toLocaleString("en") + " " + (n === 1 ? one : many);
    const apply = () => {
      const relations = new Set(new FormData(form).getAll("relation"));
      const least = Number(form.least.value), all = form.least.value === form.least.min;
      let nGroups = 0, nCopies = 0;
      for (const group of groups) {
        let n = 0;
        for (const copy of group.querySelectorAll("li[data-relation]")) {
          const alike = all || Number(copy.dataset.similarity ?? -2) >= least;
          copy.hidden = !(alike && relations.has(copy.dataset.relation));
          n += copy.hidden ? 0 : 1;
        }
        group.hidden = n === 0;
        nGroups += n > 0 ? 1 : 0;
        nCopies += n;
      }
      document.getElementById("least-value").textContent = least.toFixed(2);
      document.getElementById("no-match").hidden = nGroups > 0;
      document.getElementById("shown").textContent =
        count(nCopies, "copy", "copies") + " in " + count(nGroups, "group", "groups");
    };
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.hidden = false;
    apply();
  }

  const viewer = document.getElementById("viewer");
  const part = (name) => viewer.querySelector(name);
  let photos = [], at = 0;
  const show = (step) => {
    at = (at + step + photos.length) % photos.length;
    const photo = photos[at], small = photo.querySelector("img"), large = part("img");
    large.src = small.src;
    large.alt = small.alt;
    part(".facts").textContent = photo.dataset.caption;
    part(".uri").textContent = photo.dataset.uri;
    part(".place").textContent = (at + 1) + " of " + photos.length;
    for (const name of [".previous", ".next"]) part(name).disabled = photos.length < 2;
  };
  document.addEventListener("click", (event) => {
    const photo = event.target.closest("button.photo");
    if (!photo) return;
    const set = photo.closest("[data-set]") ?? document;
    photos = [...set.querySelectorAll("button.photo")].filter((other) => !other.closest("[hidden]"));
    at = photos.indexOf(photo);
    show(0);
    viewer.showModal();
  });
  viewer.addEventListener("click", (event) => {
    if (event.target === viewer) viewer.close();
  });
  viewer.addEventListener("keydown", (event) => {
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (step && photos.length > 1) {
      event.preventDefault();
      show(step);
    }
  });
  viewer.addEventListener("close", () => photos[at].focus());
  part(".previous").addEventListener("click", () => show(-1));
  part(".next").addEventListener("click", () => show(1));
  part(".close").addEventListener("click", () => viewer.close());
})();
"""
)
