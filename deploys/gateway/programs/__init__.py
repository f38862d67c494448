"""The service behind the web page."""
