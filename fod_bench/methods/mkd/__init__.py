"""Multiresolution knowledge distillation: a small network is trained to give a frozen network's feature maps of normal images; a
defect is where it does not."""
