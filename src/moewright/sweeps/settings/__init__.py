"""What the settings of a sweep make of a recipe and its architecture."""
