"""What may leave: policy, approval, the gate between them, and the export that keeps to it."""
