"""Pictures: from a photograph of a digit to what a network is given."""
