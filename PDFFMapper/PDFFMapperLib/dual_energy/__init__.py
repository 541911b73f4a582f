"""Dual-energy CT of marrow: bone mineral, red and yellow marrow, virtual non-calcium."""
