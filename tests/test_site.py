"""The pages of docs/ as a site: mkdocs.yml and docs/site/hooks.py."""

import re
import shutil

import pytest

from tests.support.documents import REPOSITORY

pytest.importorskip("material", reason='pip install -e ".[docs]"')

from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

HOOKS = "docs/site/hooks.py"
CODE = re.compile(r"<(pre|code)\b.*?</\1>", re.DOTALL)
TAG = re.compile(r"<[^>]+>")
# What stays in a page's text where markdown is not read as on GitHub.
NOT_READ = re.compile(r"^\s*(([-*]|\d\.) |\|)|```|\*\*|\]\(|\$|`", re.MULTILINE)


def site(folder, **settings):
    return load_config(str(REPOSITORY / "mkdocs.yml"), site_dir=str(folder), **settings)


def pages_of(entry):
    """The pages that a part of the navigation names."""
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    return [page for part in parts for page in pages_of(part)]


def test_the_navigation_has_every_page_once(tmp_path):
    config = site(tmp_path)
    docs = REPOSITORY / "docs"
    pages = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}
    pages |= set(config.hooks[HOOKS].PAGES_AT_THE_TOP.values())
    assert sorted(pages_of(config.nav)) == sorted(pages)


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("models/midpg.md", "[DPG](dpg.md)", "[DPG](dpg.md)"),
        ("models/midpg.md", "[all](../data.md#values)", "[all](../data.md#values)"),
        ("models/midpg.md", "![a](../pictures/a.svg)", "![a](../pictures/a.svg)"),
        ("models/README.md", "[new](../../CONTRIBUTING.md#a)", "[new](../contributing.md#a)"),
        ("overview.md", "![a](docs/pictures/a.svg)", "![a](pictures/a.svg)"),
        ("overview.md", "[all](docs/README.md)", "[all](README.md)"),
        ("speed.md", "[below](#below)", "[below](#below)"),
        ("speed.md", "[site](https://recbole.io/a.html)", "[site](https://recbole.io/a.html)"),
        (
            "models/midpg.md",
            "[`a`](../../recbole_midpg/models/midpg.py#L3)",
            "[`a`](https://an.address/of/it/blob/HEAD/recbole_midpg/models/midpg.py#L3)",
        ),
        ("overview.md", "[a](examples)", "[a](https://an.address/of/it/blob/HEAD/examples)"),
        ("speed.md", "```\n[a](../setup.py)\n```", "```\n[a](../setup.py)\n```"),
    ],
)
def test_a_link_leads_to_its_page_or_to_the_repository(tmp_path, page, link, expected):
    with_links = site(tmp_path).hooks[HOOKS].with_links
    written = with_links(f"See\n{link}\n", page, "https://an.address/of/it/")
    assert written == f"See\n{expected}\n"


def test_without_a_repository_a_files_path_stays_at_its_name(tmp_path):
    with_links = site(tmp_path).hooks[HOOKS].with_links
    written = with_links("[a](../setup.py) and [b](data.md)", "speed.md", None)
    assert written == '<abbr title="setup.py">a</abbr> and [b](data.md)'


@pytest.mark.slow
def test_every_page_is_built_as_it_is_read_on_github(tmp_path):
    build(site(tmp_path, strict=True))
    for page in tmp_path.rglob("*.html"):
        if page.name == "404.html":
            continue
        article = article_of(page)
        assert article.count("<h1") == 1, page.name
        assert NOT_READ.search(TAG.sub("", CODE.sub("", article))) is None, page.name
    midpg = article_of(tmp_path / "models" / "midpg.html")
    assert midpg.count('display="block"') >= 1 and midpg.count("<math") > 5
    assert "arithmatex" not in midpg
    assert "<td><code>mi_estimator</code></td>" in midpg
    assert "run_recbole" in CODE.search(article_of(tmp_path / "own_logs.html"))[0]
    for picture in re.findall(r'<img [^>]*src="([^"]+)"', midpg):
        assert (tmp_path / "models" / picture).is_file()


def article_of(page):
    return re.search(r"<article.*?</article>", page.read_text(encoding="utf-8"), re.DOTALL)[0]


@pytest.mark.slow
@pytest.mark.parametrize("link", ["[a](none.md)", "[a](speed.md#none)", "![a](pictures/none.svg)"])
def test_a_link_that_leads_nowhere_ends_the_build(tmp_path, link):
    docs = tmp_path / "docs"
    shutil.copytree(REPOSITORY / "docs", docs)
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        shutil.copy(REPOSITORY / name, tmp_path)
    with (docs / "gpu.md").open("a", encoding="utf-8") as page:
        page.write(f"\n{link}\n")
    with pytest.raises(Abort):
        build(site(tmp_path / "site", docs_dir=str(docs), strict=True))


def test_formulas_are_written_so_that_a_browser_draws_them(tmp_path):
    with_formulas = site(tmp_path).hooks[HOOKS].with_formulas
    inline = with_formulas(r'<p>the <span class="arithmatex">\(a &lt; \sigma\)</span></p>')
    assert inline.startswith("<p>the <math") and inline.endswith("</math></p>")
    assert "&#x0003C;" in inline or "&lt;" in inline
    block = with_formulas('<div class="arithmatex">\\[\nh^l\n\\]</div>')
    assert 'display="block"' in block and "<msup>" in block
