"""Raw data files to RecBole atomic files, one script a dataset."""
