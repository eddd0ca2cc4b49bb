"""Virtual time, chance from a seed, and what a run replaces beneath libraries."""
