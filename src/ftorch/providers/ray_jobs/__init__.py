"""What Ray and Anyscale share: the package that travels, the runner inside it, and what both leave to be read.

`inside` is what runs on the cluster and imports nothing else of ftorch but the trainer; the rest runs here.
"""
