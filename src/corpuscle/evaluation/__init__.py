"""How good predictions are: metrics, intervals, speed."""
