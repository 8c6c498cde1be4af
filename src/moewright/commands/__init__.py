"""The commands: one function each, by the command's name, with its arguments."""
