"""RecBole's datasets: found, loaded, filtered, checked, saved, cut into batches."""
