"""What every room needs and no room of its own has: errors, rules, arguments, files."""
