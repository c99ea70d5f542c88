"""The section that tells the run in numbers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from resight.report.figures import draw_share_bar
from resight.report.markup import (
    Markup,
    element,
    format_bytes,
    format_count,
    format_seconds,
    fragment,
)
from resight.report.sections import Thumbnails


@dataclass(frozen=True)
class JobRun:
    """The last run of a build: what it took and what it left."""

    job: str
    name: str  # of its build
    build_id: str
    seconds: float
    committed_at: datetime | None
    rows: Mapping[str, int]  # table -> rows of the build after the run
    settings: Mapping[str, object]


@dataclass(frozen=True)
class Numbers:
    """The collection and its runs, counted."""

    statuses: tuple[tuple[str, int], ...]  # of the images that are there, most frequent first
    n_bytes: int = 0
    n_removed: int = 0
    sources: tuple[str, ...] = ()
    n_groups: int | None = None  # None: copies were never looked for
    n_copies: int = 0  # members of groups beyond the kept ones
    bytes_freed: int = 0
    runs: tuple[JobRun, ...] = ()
    anchor: str = "numbers"
    title: str = "The run in numbers"

    def image_ids(self) -> Iterable[int]:
        """Show no image."""
        return ()

    def render(self, thumbnails: Thumbnails) -> Markup:
        """Draw tiles, the images by status, the jobs and the builds."""
        return fragment(
            self.render_tiles(),
            self.render_statuses(),
            self.render_sources(),
            render_jobs(self.runs),
            render_builds(self.runs),
        )

    def render_tiles(self) -> Markup:
        """Draw the figures that a person looks for first."""
        n_images = sum(n for _, n in self.statuses)
        n_ok = dict(self.statuses).get("ok", 0)
        tiles = [
            ("photos", format_count(n_images), format_bytes(self.n_bytes)),
            ("readable", format_count(n_ok), f"{format_count(n_images - n_ok)} failed"),
        ]
        if self.n_groups is None:
            tiles.append(("copies", "\N{EM DASH}", "not looked for yet"))
        else:
            groups = "in " + format_count(self.n_groups, "group")
            tiles.append(("copies that could go", format_count(self.n_copies), groups))
            tiles.append(("space to free", format_bytes(self.bytes_freed), "if one of each is kept"))
        cards = [
            element(
                "div",
                element("dt", name),
                element("dd", value, class_="figure"),
                element("dd", detail, class_="detail"),
            )
            for name, value, detail in tiles
        ]
        return element("dl", *cards, class_="tiles")

    def render_statuses(self) -> Markup:
        """Draw how many images have which status."""
        if not self.statuses:
            return element("p", "The collection is empty: no image was ingested.", class_="empty")
        removed = None
        if self.n_removed:
            words = f"{format_count(self.n_removed, 'photo')} removed from the sources since the first run."
            removed = element("p", words, class_="note")
        words = ", ".join(f"{name} {n}" for name, n in self.statuses)
        chart = draw_share_bar(self.statuses, label=f"Images by status: {words}")
        return fragment(element("h3", "Images by status"), chart, removed)

    def render_sources(self) -> Markup | None:
        """Draw where the photos come from."""
        if not self.sources:
            return None
        roots = [element("li", element("bdi", root, class_="uri")) for root in self.sources]
        return fragment(element("h3", "Sources"), element("ul", *roots, class_="plain"))


def render_jobs(runs: Iterable[JobRun]) -> Markup:
    """Draw the table of jobs with seconds and rows."""
    rows = [
        element(
            "tr",
            element("th", run.job, element("small", render_time(run.committed_at)), scope="row"),
            element("td", format_seconds(run.seconds), class_="number"),
            element("td", *render_rows(run.rows)),
        )
        for run in runs
    ]
    if not rows:
        return element("p", "No run of a job is recorded.", class_="empty")
    head = [element("th", name, scope="col") for name in ("Job", "Time", "Rows")]
    table = element("table", element("thead", element("tr", *head)), element("tbody", *rows))
    return fragment(element("h3", "Jobs"), wide(table, "Jobs"))


def render_rows(rows: Mapping[str, int]) -> Iterable[Markup]:
    """Draw the tables that a run left with their rows."""
    for name, n in rows.items():
        yield element("span", f"{name} ", element("span", format_count(n), class_="strong"), class_="pair")


def render_time(time: datetime | None) -> Markup:
    """Draw a moment, by the minute."""
    if time is None:
        return element("span", "unknown")
    return element("time", time.strftime("%Y-%m-%d %H:%M"), datetime=time.isoformat())


def render_builds(runs: Iterable[JobRun]) -> Markup | None:
    """Draw every build with its name and settings."""
    builds = [
        element(
            "li",
            element(
                "p",
                element("span", run.name or run.job, class_="strong"),
                f" by {run.job} ",
                element("code", run.build_id),
            ),
            element("p", *render_settings(run.settings), class_="settings"),
        )
        for run in runs
    ]
    if not builds:
        return None
    list_of_builds = element("ul", *builds, class_="plain builds")
    summary = element("summary", "Builds and their settings ", element("small", str(len(builds))))
    return element("details", summary, list_of_builds)


def render_settings(settings: Mapping[str, object]) -> Iterable[Markup]:
    """Draw settings as small pairs of name and value."""
    if not settings:
        yield element("span", "no settings", class_="note")
    for name, value in settings.items():
        text = str(value) or "(empty)"
        yield element("span", f"{name} ", element("code", text), class_="pair")


def wide(table: Markup, label: str) -> Markup:
    """Let a wide table scroll by itself instead of the page."""
    return element("div", table, class_="scroller", role="region", tabindex=0, aria_label=f"Table: {label}")
