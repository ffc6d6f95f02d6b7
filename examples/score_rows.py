"""Train MI-DPG, make it a file that needs no dataset, and score rows of a frame with that file.

python examples/score_rows.py
"""

from pathlib import Path

import pandas as pd

import recbole_midpg  # noqa: F401 - RecBole can be imported only after it is mended

# isort: split
from recbole.quick_start import run

from recbole_midpg.prediction.scorer import Scorer

run(model="MIDPG", dataset="ml-100k")
checkpoint = max(Path("saved").glob("MIDPG-*.pth"), key=lambda path: path.stat().st_mtime)
Scorer.read(checkpoint).save("model.scorer")

# Ages, genders, occupations and release years are joined: the file knows these users and items.
rows = pd.DataFrame({"user_id": ["196", "186", "22"], "item_id": ["242", "302", "377"]})
scores = Scorer.read("model.scorer").scores(rows)
print(rows.assign(probability=scores))
