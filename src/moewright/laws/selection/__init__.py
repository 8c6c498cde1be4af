"""Which runs to make next: what is believed of their losses, what is in doubt, and what a run would tell of it."""
