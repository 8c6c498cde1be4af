"""Which model to build: budgets in, ranked buildable models out."""
