"""The projections: what the log says, as tables that answer questions (docs/reference/database.md).

Each is a fold over the entries of the log in their order, and knows nothing of batches: the same entries give the same
rows, live or in a rebuild. `projector.Projector` reads what it needs from the tables, folds in memory, and writes once
for each table.
"""
