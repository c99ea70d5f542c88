from resight.report.collect import collect_report
from resight.report.page import render_page
from resight.tables import EXPLANATIONS, IMAGES, PREVIEWS, QUERIES
from tests.report.committed import Committed


def explained(tmp_path):
    made = Committed(tmp_path)
    uris = {"image_id": [1, 2, 3, 4], "uri": ["a.jpg", "b.jpg", "c.jpg", "<d>.jpg"], "status": ["ok"] * 4}
    made.commit("ingest-images", (IMAGES, uris), (PREVIEWS, {"image_id": [1, 3], "jpeg": [b"one", b"three"]}))
    asked = {"query_id": [7, 8], "uri": ["q.jpg", "a.jpg"], "image_id": [None, 1]}
    hops = {
        "query_id": [7, 7, 8, 8, 8],
        "image_id": [2, 4, 4, 4, 4],
        "hop": [0, 0, 2, 0, 1],
        "dst": [2, 4, 4, 2, 3],
        "affinity": [0.9, 0.4, 0.25, 0.75, 0.5],
    }
    made.commit("search", (QUERIES, asked), (EXPLANATIONS, hops))
    made.commit("search", (QUERIES, {"query_id": [9], "uri": ["other.jpg"], "image_id": [None]}))
    return collect_report(made.reader)


def test_a_filmstrip_leads_from_the_query_over_its_hops_to_the_result(tmp_path):
    section = next(s for s in explained(tmp_path).sections if s.anchor == "chains")
    chains = {chain.query.uri: [(p.uri, a) for p, a in chain.hops] for chain in section.chains}
    assert chains == {
        "a.jpg": [("b.jpg", 0.75), ("c.jpg", 0.5), ("<d>.jpg", 0.25)],
        "q.jpg": [("b.jpg", 0.9)],
    }
    assert section.n_explained == 3


def test_the_page_shows_filmstrips_with_escaped_names(tmp_path):
    page = render_page(explained(tmp_path))
    assert "Chain from a.jpg to &lt;d&gt;.jpg" in page
    assert "<d>" not in page
    assert "\u2192 0.75" in page
