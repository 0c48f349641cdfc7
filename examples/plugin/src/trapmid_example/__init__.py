"""One member of each kind, one file each."""
