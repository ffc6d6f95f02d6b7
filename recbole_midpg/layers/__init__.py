"""The mathematics: plain torch modules that know nothing of RecBole."""
