"""Qt widgets of the Slicer desktop that follow from recipes; imported by the panel alone."""
