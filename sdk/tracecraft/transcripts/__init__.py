"""Transcripts of coding agents: read as one stream of records, and mirrored into runs."""
