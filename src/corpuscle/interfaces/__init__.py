"""How people and programs reach the library."""
