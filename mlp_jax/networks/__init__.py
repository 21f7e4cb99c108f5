"""Networks: layers, written once; the NNX module made of them; layouts, which train many side by side."""
