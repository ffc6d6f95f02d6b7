"""What README.md and docs/ print runs, and what they say of the code is so."""

import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from recbole_midpg import cli
from tests.support import documents
from tests.support.documents import FENCE, PAGES, REPOSITORY, blocks_of, name_of

README = REPOSITORY / "README.md"
RUNNING = (REPOSITORY / "docs" / "running.md").read_text(encoding="utf-8")
GOLDEN = Path(__file__).parent / "atomic_data_scripts" / "golden"
# What is read by its options alone, by the words that begin it, and why it is not run.
NOT_RUN = {
    ("pip",): "changes the environment; .ci/run does it in a new one",
    ("pytest",): "is what runs this",
    (".ci/run",): "runs this, in two new environments",
    ("ruff",): ".ci/run does",
    ("mypy",): ".ci/run does",
    ("mkdocs",): ".ci/run does; see tests/test_site.py",
    ("python", "-m", "benchmarks"): "measures for minutes to hours; see tests/test_benchmarks.py",
    ("python", "-m", "robustness"): "takes minutes to hours; see tests/test_scripts.py",
    ("python", "examples/service.py"): "serves until it is stopped; see tests/test_service.py",
    ("python", "-m", "tests"): "takes ten minutes; see tests/fuzz/test_targets.py",
    ("recbole-midpg", "prepare", "amazon_electronics", "--download"): "needs a network",
}
# Blocks of the pages whose names begin so want a GPU, two machines, raw files that cannot be
# redistributed, or hours.
PAGES_NOT_RUN = {
    "CONTRIBUTING.md": "commands for those who change the package, minutes to hours each",
    "docs/gpu.md": "needs a GPU",
    "docs/reproduction.md": "needs the real files of Amazon Electronics and IAAC, and days",
    "docs/results/": "hours each; the same commands run short in docs/comparing.md",
}
TWO_MACHINES = "--world_size=8"
# Commands of the README that take too long for every change, and the page where the slow tests
# run them.
RUN_IN = {"recbole-midpg benchmark": "docs/comparing.md", "recbole-midpg tune": "docs/comparing.md"}


def is_run(page, words):
    if name_of(page).startswith(tuple(PAGES_NOT_RUN)) or TWO_MACHINES in words:
        return False
    if any(" ".join(words).startswith(" ".join(beginning)) for beginning in NOT_RUN):
        return False
    return not (page == README and " ".join(words[:2]) in RUN_IN)


def commands_of(page):
    return [words for b in blocks_of(page, "bash", "console") for words in b.commands()]


def pages_that_run():
    """The README for every change, the other pages with the slow tests."""
    return [
        pytest.param(page, id=name_of(page), marks=() if page == README else pytest.mark.slow)
        for page in PAGES
        if any(is_run(page, words) for words in commands_of(page))
    ]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_has_the_options_keys_and_files_that_it_names(page, monkeypatch):
    for where, words in documents.every_command():
        if where == page:
            documents.check(words, monkeypatch)
    for block in blocks_of(page, "python"):
        compile(block.text, name_of(page), "exec")


@pytest.mark.parametrize("page", pages_that_run())
def test_the_commands_and_programs_of_a_page_run(page, capsys):
    """One after the other in one folder, each made short: see ``documents.shortened``."""
    shutil.copy(GOLDEN / "iaac.txt", "round1_ijcai_18_train_20180301.txt")
    documents.write_files(page)
    for block in blocks_of(page, "bash", "console", "python"):
        if block.language == "python":
            documents.run_program(block)
            continue
        for words in block.commands():
            if not is_run(page, words):
                continue
            capsys.readouterr()
            status = documents.run(words)
            printed = "".join(capsys.readouterr())
            if block.language == "console":
                assert block.output().strip() in printed
            else:
                assert status == 0, (words, printed)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_table_is_what_its_file_holds(page):
    """Copied as it stands there, so without a comment, which CSV does not have."""
    for block in blocks_of(page, "csv"):
        assert not block.text.startswith("#")


def test_every_example_is_run():
    """By the README's commands for every change, or by another page's with the slow tests."""
    programs = {words[1] for page in PAGES for words in commands_of(page) if words[0] == "python"}
    examples = (REPOSITORY / "examples").glob("*.py")
    assert programs - {"-m", "docs/generate.py"} == {name_of(example) for example in examples}


def test_what_is_not_run_is_there():
    commands = [" ".join(words) for _, words in documents.every_command()]
    for beginning in NOT_RUN:
        assert any(command.startswith(" ".join(beginning)) for command in commands), beginning
    for beginning in PAGES_NOT_RUN:
        assert any(name_of(page).startswith(beginning) for page in PAGES), beginning
    for command, page in RUN_IN.items():
        elsewhere = [" ".join(words) for words in commands_of(REPOSITORY / page)]
        assert any(words.startswith(command) for words in elsewhere), command


def test_a_wrong_command_does_not_pass(monkeypatch):
    """The check above sees what is wrong, as a test that cannot fail would not."""
    for wrong in (
        ["run_recbole", "--epoch=1"],
        ["run_recbole", "--model=MIDPQ"],
        ["recbole-midpg", "predict", "--checkpoint=a.pth", "--inputs=b.csv", "--output=c.csv"],
        ["recbole-midpg", "tune", "--lr=1"],
        ["recbole-midpg", "tunes"],
        ["python", "-m", "benchmarks.none"],
        ["python", "-m", "benchmarks.loading", "--rownds=2"],
        ["python", "examples/none.py"],
        ["pytest", "tests/none"],
        ["pip", "install", "-e", ".[tests]"],
        ["conda", "install"],
    ):
        with pytest.raises((AssertionError, ValueError, SystemExit)):
            documents.check(wrong, monkeypatch)


def test_models_are_set_against_dnn_seed_by_seed(tmp_path):
    trials = tmp_path / "trials.csv"
    lines = ["DNN,1,0.70", "DNN,2,0.71", "DNN,3,0.72"]
    lines += ["STAR,3,0.732", "STAR,1,0.710", "STAR,2,0.721"]  # +0.010 +0.011 +0.012
    lines += ["PLE,1,0.71", "PLE,2,0.70", "PLE,3,0.71"]  # +0.01 -0.01 -0.01
    trials.write_text("\n".join(["model,seed,test auc", *lines]))
    generator = documents.import_generator()
    assert generator._column(generator.read_areas(trials)) == {
        "DNN": "0.7100",
        # t = 4.303 with two degrees of freedom: 4.303 * 0.001 / sqrt(3); p = 0.0027, twice.
        "STAR": "**+0.0110 ± 0.0025**",
        "PLE": "-0.0033 ± 0.0287",
    }


def test_generated_pages_are_up_to_date():
    for path, text in documents.import_generator().generated_pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: python docs/generate.py"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_linked_files_and_headings_exist(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("http"):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def anchors_of(page):
    """The anchors by which GitHub links a page's headings."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


def test_every_command_is_described(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    commands = re.findall(r"^    (\w+)  ", capsys.readouterr().out, re.MULTILINE)
    assert "predict" in commands
    (section,) = re.findall(r"^## Other commands\n(.*)", RUNNING, re.MULTILINE | re.DOTALL)
    for command in commands:
        assert re.search(rf"`(recbole-midpg )?{command}`", section), command


def test_pictures_are_whole_and_shown():
    """And bring their own background: they are read on dark pages and on light ones."""
    shown = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for picture in (REPOSITORY / "docs" / "pictures").iterdir():
        assert f"pictures/{picture.name})" in shown
        root = ElementTree.parse(picture).getroot()
        parts = [part for part in root if part.tag.endswith(("rect", "text", "g", "path"))]
        assert parts[0].get("class") == "panel"


def test_the_index_leads_to_every_page():
    index = (REPOSITORY / "docs" / "README.md").read_text(encoding="utf-8")
    for page in (REPOSITORY / "docs").glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in index, page.name
