"""The parts of the MarrowAssess panel, and what it says; imported by the panel alone."""
