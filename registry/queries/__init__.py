"""Questions: they never write, and they take the viewer who asks. One file per subject."""
