"""DRAEM: reconstruction and segmentation learned from anomalies that are made by blending textures into normal images."""
