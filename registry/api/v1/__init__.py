"""Version 1 of the REST interface. One file per subject."""
