"""Bone at ultrashort echo times: ratios of region signals and two-component T2*."""
