"""The filter language (docs/reference/filters.md): text to conditions to SQL, in which no text of the user stands."""
