"""Lambda Cloud: machines rented by the minute, reached by ssh, each with a switch of its own that ends it in time.

`api` is the service, `provider` the contract, `switch` and `userdata` what goes onto the machine, `cost` what it cost.
"""
