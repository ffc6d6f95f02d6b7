"""Training: RecBole's trainer with losses per sample."""
