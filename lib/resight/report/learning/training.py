"""The section of training: what each epoch reached, as a table and as a curve."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from resight.report.figures import draw_interval
from resight.report.markup import Markup, element, format_count, fragment
from resight.report.sections import Thumbnails

HEIGHT = 160  # pixels of the curve
DASH = "\N{EM DASH}"


@dataclass(frozen=True)
class Epoch:
    """An epoch of a training; 0 is the network before it. None where nothing was computed."""

    number: int
    loss: float | None = None  # mean over the steps
    learning_rate: float | None = None
    p: float | None = None  # exponent of GeM
    mean_precision: float | None = None  # on the validation


@dataclass(frozen=True)
class Training:
    """The epochs of the newest training."""

    epochs: tuple[Epoch, ...]
    name: str = ""  # of its build
    anchor: str = "training"
    title: str = "Training"

    def image_ids(self) -> Iterable[int]:
        """Show no image."""
        return ()

    def render(self, thumbnails: Thumbnails) -> Markup:
        """Draw the sentence, the curve of the loss and the table of epochs."""
        if not self.epochs:
            return element("p", "The training logged nothing.", class_="empty")
        return fragment(
            element("p", self.describe(), class_="note"),
            draw_curve([epoch.loss for epoch in self.epochs], label="Loss by epoch"),
            self.render_epochs(),
        )

    def describe(self) -> str:
        """Say how far the training went and what it gained."""
        n = max(epoch.number for epoch in self.epochs)
        words = f"{self.name or 'The network'} was trained for {format_count(n, 'epoch')}"
        known = [epoch for epoch in self.epochs if epoch.mean_precision is not None]
        if len(known) < 2:
            return words + "."
        best = max(known, key=lambda epoch: (epoch.mean_precision or 0.0, -epoch.number))
        first, top = known[0].mean_precision or 0.0, best.mean_precision or 0.0
        gain = f"mean average precision on the validation: {first:.3f} before"
        return f"{words}; {gain}, {top:.3f} after epoch {best.number}."

    def render_epochs(self) -> Markup:
        """Draw a row for each epoch."""
        names = ("Epoch", "Loss", "Mean average precision", "0 to 1", "Exponent p", "Learning rate")
        head = element("tr", *(element("th", name, scope="col") for name in names))
        rows = [render_epoch(epoch) for epoch in self.epochs]
        table = element("table", element("thead", head), element("tbody", *rows))
        return element("div", table, class_="scroller", role="region", tabindex=0, aria_label="Table: epochs")


def render_epoch(epoch: Epoch) -> Markup:
    """Draw one row."""
    figure, rate = epoch.mean_precision, epoch.learning_rate
    cells = (format_figure(epoch.loss, 4), format_figure(figure, 3))
    return element(
        "tr",
        element("th", str(epoch.number), scope="row"),
        *(element("td", words, class_="number") for words in cells),
        element("td", None if figure is None else draw_interval(figure, None, None)),
        element("td", format_figure(epoch.p, 3), class_="number"),
        element("td", DASH if rate is None else f"{rate:.3g}", class_="number"),
    )


def format_figure(value: float | None, digits: int) -> str:
    """Write a figure, a dash where there is none."""
    return DASH if value is None else f"{value:.{digits}f}"


def draw_curve(values: Sequence[float | None], *, label: str) -> Markup | None:
    """Draw values as points on lines, evenly spaced, from 0 at the bottom; None below two of them."""
    known = [(place, value) for place, value in enumerate(values) if value is not None]
    if len(known) < 2:
        return None
    top = max(value for _, value in known) or 1.0
    first, last = known[0][0], known[-1][0]
    places = [(4 + 92 * (x - first) / (last - first), 12 + (HEIGHT - 24) * (1 - y / top)) for x, y in known]
    lines = [
        element("line", x1=f"{x0:.2f}%", y1=f"{y0:.1f}", x2=f"{x1:.2f}%", y2=f"{y1:.1f}", class_="rail")
        for (x0, y0), (x1, y1) in pairwise(places)
    ]
    dots = [element("circle", cx=f"{x:.2f}%", cy=f"{y:.1f}", r=4, class_="dot") for x, y in places]
    ends = [
        element(
            "text", f"{known[i][1]:.4f}", x=f"{places[i][0]:.2f}%", y=f"{places[i][1] - 8:.1f}", class_="tick"
        )
        for i in (0, -1)
    ]
    size: dict[str, str | float] = {"width": "100%", "height": HEIGHT, "role": "img", "aria_label": label}
    return fragment(element("h3", label), element("svg", *lines, *dots, *ends, class_="histogram", **size))
