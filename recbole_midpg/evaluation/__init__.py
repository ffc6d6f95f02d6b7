"""Metrics of predictions, of numpy arrays and of tensors; nothing here knows RecBole."""
