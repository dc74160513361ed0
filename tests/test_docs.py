"""The documentation builds without a warning, and what it links to is there."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]


def test_the_documentation_builds_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="the documentation is built by Sphinx (extra docs)")
    words = ["-W", "--keep-going", "-q", "-d", tmp_path / "trees", "docs", tmp_path / "html"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    html = tmp_path / "html"
    pages = {page.relative_to(html).as_posix(): page.read_text() for page in html.rglob("*.html")}
    assert "64 faces drawn" in pages["index.html"]
    assert "<mi>L</mi>" in pages["losses.html"]  # formulas are drawn by the browser
    assert '<math display="block"' in pages["documents/zhang.html"]
    for name, text in pages.items():
        fetched = re.findall(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="\w*:?//[^"]*', text)
        assert not fetched, f"{name} needs a network"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def test_every_picture_is_shown_on_some_page():
    texts = [page.read_text() for page in [*PAGES, *(ROOT / "docs").rglob("*.md")]]
    shown = {Path(link).name for text in texts for link in re.findall(r"\]\(([^)#\s]+)", text)}
    pictures = {path.name for path in (ROOT / "docs" / "images").iterdir()}
    assert pictures <= shown


def test_the_lists_are_those_of_the_code():
    spec = importlib.util.spec_from_file_location("lists", ROOT / "docs" / "lists.py")
    lists = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lists)
    remedy = "make it anew: python docs/lists.py"
    assert lists.PAGE.read_text(encoding="utf-8") == lists.page(), remedy
