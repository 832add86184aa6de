"""``tracecraft replay``: a run's moments in order, on a screen, in lines and on a page."""
