"""Money: prices, estimates, line items, the ledger, spend. Calls nobody."""
