"""What may be typed: the options of each command, known before torch and RecBole are imported."""
