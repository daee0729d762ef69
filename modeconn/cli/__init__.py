"""One thin command per verb over a frame that parses, reports errors and sets the exit code."""
