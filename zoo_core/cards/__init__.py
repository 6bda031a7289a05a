"""Cards: what a model or a dataset is, as strict data. Schema, reading, writing, checking."""
