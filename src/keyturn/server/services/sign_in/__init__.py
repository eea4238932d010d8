"""How people sign in to the console, step by step."""
