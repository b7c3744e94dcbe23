"""The harness: what the README claims about speed and size is printed by a module in here, beside an anchor."""
