"""What a checkpoint says of itself, without its weights being read."""
