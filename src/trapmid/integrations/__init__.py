"""Glue for trainers that keep the loop to themselves; each module needs the library that it is named after."""
