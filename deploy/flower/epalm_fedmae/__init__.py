"""Federated pre-training of encoders with epalm on Flower (docs/fedmae.md)."""
