"""From a recipe and pictures to a bundle."""
