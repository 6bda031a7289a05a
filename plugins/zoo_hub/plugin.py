"""The Hugging Face hub: weights, and cards in repositories. Names things only."""
