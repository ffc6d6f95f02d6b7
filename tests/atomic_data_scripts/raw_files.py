"""Small raw files, and what their conversion leaves behind."""

import csv
from pathlib import Path

from recbole_midpg.atomic_data_scripts import ConversionReport, prepare

GOLDEN = Path(__file__).parent / "golden"
GOLDEN_RAW = {
    "amazon_electronics": GOLDEN / "amazon_electronics.csv",
    "iaac": GOLDEN / "iaac.txt",
    "iaac_time": GOLDEN / "iaac.txt",
    "iaac_profile": GOLDEN / "iaac.txt",
    "advertising": GOLDEN / "advertising.csv",
}
GOLDEN_BAD = {
    "amazon_electronics": GOLDEN / "amazon_electronics_bad.csv",
    "iaac": GOLDEN / "iaac_bad.txt",
    "advertising": GOLDEN / "advertising_bad.csv",
}
AMAZON_HEADER = "item_id,user_id,rating,timestamp,model_attr,category,brand,year,user_attr,split"


def amazon_line(**values: str) -> str:
    """A good line of the Amazon file with some values changed."""
    row = {
        "item_id": "0",
        "user_id": "0",
        "rating": "5.0",
        "timestamp": "2010-01-02",
        "model_attr": "Female",
        "category": "Headphones",
        "brand": "",
        "year": "2009",
        "user_attr": "",
        "split": "0",
    }
    return ",".join({**row, **values}.values())


def amazon_file(folder: Path, *lines: str, header: str = AMAZON_HEADER) -> Path:
    path = folder / "df_electronics.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8", newline="\n")
    return path


def prepare_amazon(raw: Path, **options: object) -> ConversionReport:
    return prepare("amazon_electronics", raw, raw.parent / "dataset", **options)  # type: ignore


def contents(folder: Path) -> dict[str, str]:
    """Every file of a folder but the manifest, whose report holds a time."""
    return {
        path.name: path.read_text(encoding="utf-8")
        for path in sorted(folder.iterdir())
        if not path.name.endswith("manifest.json")
    }


def atomic_rows(path: Path) -> list[dict[str, str]]:
    """The rows of an atomic file by field, read as RecBole's csv reader reads them."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file, delimiter="\t")
        names = [declared.partition(":")[0] for declared in next(reader)]
        return [dict(zip(names, row, strict=True)) for row in reader]


def rejected_rows(path: Path) -> list[list[str]]:
    """Line number, column, reason and raw line of each rejected line."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
