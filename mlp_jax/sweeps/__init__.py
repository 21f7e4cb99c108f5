"""Sweeps: the grid, its compiled programs, devices, memory, the loop over epochs, checkpoints."""
