"""Bills: read, placed line by line, explained, assigned by a person, imported from files, closed by the month."""
