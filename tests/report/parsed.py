"""A page as a strict reader sees it."""

from html.parser import HTMLParser

from resight.report.markup import VOID


class Parsed(HTMLParser):
    """Parses a page; an end tag without its start, or a start without its end, is an error."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, str] = {}
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == [], self.open

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("style", "script"):
            self.raw[self.open[-1]] = data
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        """All words of the page, white space made single."""
        return " ".join("".join(self.words).split())

    def having(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        """Attributes of the elements called ``tag`` that have all ``wanted`` ones."""
        named = {name.rstrip("_").replace("_", "-"): value for name, value in wanted.items()}
        return [a for t, a in self.elements if t == tag and named.items() <= a.items()]
