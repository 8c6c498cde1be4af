"""One training run as files: its recipe, what it comes to, its folder, its state and its identity. No torch."""
