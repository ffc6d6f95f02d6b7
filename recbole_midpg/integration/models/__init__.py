"""RecBole's models, mended, with constants and needs; trees; models from outside; the registry."""
