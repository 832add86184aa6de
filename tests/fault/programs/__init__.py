"""Small agents that the fault tests start as processes of their own, and the handle by which they are held."""
