"""What mkdocs.yml needs so that pages written for GitHub are a site.

Three files at the repository's top become pages too, and links that lead out of the pages go to the
repository's address, where ``repo_url`` has one; else their text stays, with the file's path.
Formulas become MathML, which browsers draw without a script from anywhere.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

# Pages of the site that stand at the repository's top, by their name there.
PAGES_AT_THE_TOP = {
    "README.md": "overview.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
_NAMES_AT_THE_TOP = {page: name for name, page in PAGES_AT_THE_TOP.items()}
# As pymdownx.arithmatex leaves them.
_FORMULA = re.compile(
    r'<(span|div) class="arithmatex">(?:\\\((?P<inline>.*?)\\\)|\\\[(?P<block>.*?)\\\])</\1>',
    re.DOTALL,
)
_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\[\]]*)\]\((?P<target>[^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that stand at the top."""
    top = Path(config.docs_dir).parent
    for name, page in PAGES_AT_THE_TOP.items():
        files.append(File.generated(config, page, abs_src_path=str(top / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead each link of a page to where it is found from the site."""
    return with_links(markdown, page.file.src_uri, config.repo_url)


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Write each formula of a page as MathML."""
    return with_formulas(content)


def with_formulas(content: str) -> str:
    """A page's HTML with formulas that a browser draws by itself."""
    return _FORMULA.sub(_as_mathml, content)


def _as_mathml(formula: re.Match[str]) -> str:
    if formula["inline"] is not None:
        return convert(html.unescape(formula["inline"]))
    return convert(html.unescape(formula["block"]), display="block")


def with_links(markdown: str, page: str, repo_url: str | None) -> str:
    """A page's text with links as the site needs them; fenced code stays as it is.

    Args:
        markdown: the page's text.
        page: the page's place in the site, as ``models/midpg.md``.
        repo_url: the repository's address, if it has one.
    """
    parts, end = [], 0
    for code in _FENCE.finditer(markdown):
        parts += [_linked(markdown[end : code.start()], page, repo_url), code[0]]
        end = code.end()
    return "".join([*parts, _linked(markdown[end:], page, repo_url)])


def _linked(text: str, page: str, repo_url: str | None) -> str:
    return _LINK.sub(lambda link: _link(link, page, repo_url), text)


def _link(link: re.Match[str], page: str, repo_url: str | None) -> str:
    file, hash_sign, anchor = link["target"].partition("#")
    if ":" in file or not file:
        return link[0]
    path = normpath(join(dirname(_path_of(page)), file))
    place = _place_of(path)
    if place is not None:
        target = relpath(place, dirname(page) or ".") + hash_sign + anchor
        return f"{link['image']}[{link['text']}]({target})"
    if repo_url:
        return f"[{link['text']}]({repo_url.rstrip('/')}/blob/HEAD/{path}{hash_sign}{anchor})"
    return f'<abbr title="{path}">{link["text"]}</abbr>'


def _path_of(page: str) -> str:
    """Where a page of the site stands in the repository."""
    return _NAMES_AT_THE_TOP.get(page, f"docs/{page}")


def _place_of(path: str) -> str | None:
    """Where a file of the repository stands in the site; None: nowhere."""
    if path.startswith("docs/") and not path.endswith(".py"):
        return path.removeprefix("docs/")
    return PAGES_AT_THE_TOP.get(path)
