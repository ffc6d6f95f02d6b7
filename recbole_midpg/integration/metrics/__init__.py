"""RecBole's evaluation with metrics of scenarios and groups."""
