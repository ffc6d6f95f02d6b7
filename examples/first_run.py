"""Train MI-DPG and a plain network on the 100,000 ratings that RecBole ships, and compare them.

python examples/first_run.py              # about 40 seconds on 2 CPU cores
python examples/first_run.py --epochs=1   # any config key, for both models
"""

import recbole_midpg  # noqa: F401 - RecBole can be imported only after it is mended

# isort: split
from recbole.quick_start import run

for model in ("MIDPG", "DNN"):
    result = run(model=model, dataset="ml-100k")["test_result"]
    print(f"{model}: test AUC {result['auc']:.4f}, LogLoss {result['logloss']:.4f}")
