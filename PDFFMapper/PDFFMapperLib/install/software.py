"""What every result names as its maker."""

VERSION = "0.1.0"  # as in pyproject.toml; in Slicer no installed package tells it
MAKER = f"MarrowAssess {VERSION}, PDFFMapper"
