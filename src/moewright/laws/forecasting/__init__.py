"""What planned runs would tell about a law, before anyone pays for them."""
