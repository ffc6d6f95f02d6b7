"""Scores of new rows and of all items, by a trained model."""
