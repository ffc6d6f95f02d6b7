"""RecBole's models: repairs, constants, needs; trees; models from outside; the registry."""
