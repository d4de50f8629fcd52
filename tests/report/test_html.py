import base64
from html.parser import HTMLParser

import pytest

from fluofocus.errors import FluoFocusError
from fluofocus.report import Page


class Elements(HTMLParser):
    """Collects tags with their attributes, and the text between them."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if data.strip():
            self.text.append(data.strip())

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)


@pytest.fixture
def png(tmp_path):
    path = tmp_path / "figure.PNG"
    path.write_bytes(b"\x89PNG and some bytes")
    return path


def test_a_page_holds_everything_in_order_in_one_file(tmp_path, png):
    page = Page("Results").paragraph("First.").heading("Scores")
    page.table(["Δz", "n"], [["-2", "5"], ["2", "6"]], "By distance").figure(png, "Before")
    page.write(tmp_path / "page.html")
    elements = Elements((tmp_path / "page.html").read_text(encoding="utf-8"))
    order = ["First.", "Scores", "By distance", "Δz", "n", "-2", "5", "2", "6", "Before"]
    *shown, _script = elements.text
    assert shown[-len(order) :] == order
    assert (elements.count("tr"), elements.count("th"), elements.count("td")) == (3, 2, 4)
    (source,) = [attributes["src"] for tag, attributes in elements.tags if tag == "img"]
    assert source.startswith("data:image/png;base64,")
    assert base64.b64decode(source.split(",")[1]) == png.read_bytes()
    assert elements.count("link") == 0
    (script,) = [attributes for tag, attributes in elements.tags if tag == "script"]
    assert not script  # within the page, for sorting


def test_text_is_not_taken_for_html():
    html = Page("a < b").paragraph("<script>alert(1)</script>").to_html()
    assert Elements(html).count("script") == 1  # that for sorting
    assert "&lt;script&gt;" in html
    assert "<title>a &lt; b</title>" in html


def test_wrong_input_is_refused(tmp_path, png):
    with pytest.raises(FluoFocusError, match="2 cells"):
        Page("p").table(["a", "b"], [["1"]])
    with pytest.raises(FluoFocusError, match="Cannot embed"):
        Page("p").figure(tmp_path / "data.tif")
    with pytest.raises(FluoFocusError, match="Cannot read figure"):
        Page("p").figure(tmp_path / "missing.png")
    with pytest.raises(FluoFocusError, match="Cannot write page"):
        Page("p").write(tmp_path / "missing" / "page.html")
