"""A store in a bucket of an S3-compatible server."""
