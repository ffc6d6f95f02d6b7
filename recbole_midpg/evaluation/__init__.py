"""Metrics of predictions, plain numpy; nothing here knows RecBole."""
