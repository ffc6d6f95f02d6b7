"""README says what the code does."""

from pathlib import Path

import yaml

from recbole_midpg.integration.registry import own_models

REPOSITORY = Path(__file__).parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PROPERTIES = REPOSITORY / "recbole_midpg" / "properties"


def table_rows():
    cells = [line.split(" | ") for line in README.splitlines() if line.startswith("| `")]
    return {row[0].strip("| `"): [cell.strip(" |") for cell in row[1:]] for row in cells}


def test_every_key_of_midpg_is_in_the_reference_with_its_default():
    rows = table_rows()
    defaults = yaml.safe_load((PROPERTIES / "model" / "MIDPG.yaml").read_text(encoding="utf-8"))
    for key, default in defaults.items():
        assert rows[key][1] == f"`{default}`", key
    scenario = yaml.safe_load((PROPERTIES / "scenario.yaml").read_text(encoding="utf-8"))
    assert scenario.keys() <= rows.keys()


def test_every_model_is_in_the_table_with_its_file():
    rows = table_rows()
    for name, model in own_models().items():
        file = f"recbole_midpg/models/{name.lower()}.py"
        assert file in rows[name][0], name
        assert (REPOSITORY / file).is_file()
        assert model.paper in rows[name][1]
        assert rows[name][2] == ("yes" if model.needs_scenario else "no")


def anchors_of(page):
    """The anchors by which a page's headings are linked."""
    lines = page.read_text(encoding="utf-8").splitlines()
    titles = [line.lstrip("#").strip().lower() for line in lines if line.startswith("#")]
    return [
        "".join(c for c in title.replace(" ", "-") if c.isalnum() or c == "-") for title in titles
    ]


def test_linked_files_and_headings_exist():
    for part in README.split("](")[1:]:
        target, _, anchor = part.partition(")")[0].partition("#")
        if target.startswith("http"):
            continue
        page = REPOSITORY / (target or "README.md")
        assert page.exists(), target
        if anchor:
            assert anchor in anchors_of(page), anchor
