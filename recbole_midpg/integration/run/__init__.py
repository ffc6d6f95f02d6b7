"""One run of RecBole's trainer: steps, files, processes, faults, resuming."""
