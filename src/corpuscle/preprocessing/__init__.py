"""From a decoded picture to the numbers that a network reads."""
