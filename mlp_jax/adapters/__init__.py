"""Adapters: models as scikit-learn estimators and as files for other programs; runs in TensorBoard."""
