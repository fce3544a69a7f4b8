"""PaDiM (ICPR 2020): a Gaussian of the features at every position of the image."""
