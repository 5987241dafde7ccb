"""Why a prediction was made, and pictures that show it."""
