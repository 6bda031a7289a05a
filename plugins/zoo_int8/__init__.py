"""Eight and four bits for every number of a linear layer: made on the fly or saved, run on CPU and GPU."""
