"""``tracecraft mcp``: the toolbox for any client of the Model Context Protocol, over standard input and output."""
