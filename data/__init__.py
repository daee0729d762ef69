"""The embedded base model and tasks; in the installed package this folder is `modeconn.embedded`."""
