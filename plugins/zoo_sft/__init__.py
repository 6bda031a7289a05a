"""Supervised fine-tuning: trainers that teach a model conversations."""
