"""What every benchmark shares: figures and their statistics, running, results, comparison, the page and its pictures."""
