"""The price book: what GPUs and hosted models cost, as dated, sourced data that a user may overrule."""
