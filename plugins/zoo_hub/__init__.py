"""The Hugging Face hub: weights, and cards in repositories."""
