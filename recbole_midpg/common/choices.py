"""The words and defaults that options offer, shared by those who declare and who take them."""

from __future__ import annotations

DEFAULT_MODEL = "MIDPG"
DEFAULT_DATASET = "ml-100k"
DATA_PATH = "dataset"
PROPOSED = ("DPG", "MIDPG")
"""The paper's own models; all others are baselines."""
LARGEST_SEED = 2**32 - 1
"""numpy's."""
SPLITS = ("train", "valid", "test")
TASKS = ("CTR", "CVR", "CTCVR")
"""The probabilities of an ESMM model: of a click, of a purchase after a click, of both."""
DPG_VARIANTS = ("non", "rc", "r", "c")
VARIANTS = (*DPG_VARIANTS, "APG")
"""What a sweep over sizes compares: DPG by its weighting, and APG."""
REPORT_ENDINGS = (".json", ".csv", ".md")
"""The files that an evaluation, or a comparison of two runs, can be written to."""
