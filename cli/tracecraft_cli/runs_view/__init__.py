"""How runs are shown: lists, one run whole, one as it goes on, and several side by side."""
