"""Learning from one file of new rows after the other, and what was predicted before each."""
