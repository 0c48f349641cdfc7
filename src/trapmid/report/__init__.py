"""The report: scores and pictures to one HTML file that a risk officer can read."""
