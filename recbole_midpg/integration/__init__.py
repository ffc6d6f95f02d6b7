"""The only code that touches RecBole's internals, one file a seam."""
