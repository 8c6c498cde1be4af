"""Which of two designs the published laws find better, where they may be believed, and how that was tested."""
