"""What a sweep will take and can tell, before it is run."""
