"""The bridge's answers to questions over NATS (docs/reference/queries.md); one file for each subject of questions."""
