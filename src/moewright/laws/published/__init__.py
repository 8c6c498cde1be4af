"""Published laws, one module per study; every coefficient has its place in the paper beside it."""
