"""What the HTML reports and plots of both sides share."""
