"""Everything that runs outside the hospital: sampling, style transfer, data sets, validation."""
