"""From score maps and masks to metrics."""
