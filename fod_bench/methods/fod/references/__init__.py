"""Reference features: what the inter-image branch knows of normal images (Appendix B.3). Imports no torch."""
