"""One RecBole config file a dataset, found by the dataset's name."""
