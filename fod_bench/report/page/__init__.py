"""A report as a web page: one folder of HTML files that opens from disk and asks for nothing from a network."""
