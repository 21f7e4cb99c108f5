"""Adapters: the same models as scikit-learn's estimators, as files for other programs, in TensorBoard."""
