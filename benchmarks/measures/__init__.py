"""What is measured: each measure is a function from a Workplace and a round to the values of each library."""
