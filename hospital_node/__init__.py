"""Everything that runs inside the hospital: intake, training, audit, release."""
