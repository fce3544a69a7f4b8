"""anomalib's models behind the protocol of the methods here; the package itself is optional and imported only where one runs."""
