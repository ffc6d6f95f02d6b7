"""RecBole's config with this package's defaults, and the checks of its keys."""
