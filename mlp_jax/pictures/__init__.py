"""Pictures: from a photograph of a digit to the input of a network."""
