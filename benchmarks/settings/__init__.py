"""Tuned settings of the models, one file a dataset; ``recbole-midpg benchmark`` reads them."""
