"""Training: what a trial is, optimizers, an epoch as one scan, one model alone."""
