"""The common parts of both sides' HTML reports and plots."""
