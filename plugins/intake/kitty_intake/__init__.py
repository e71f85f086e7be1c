"""Foreign plans become briefs, for kitty."""
