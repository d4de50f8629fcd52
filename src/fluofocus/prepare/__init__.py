"""What happens to an image before a network sees it."""
