"""Files, names, archives and schemas: reads outside bytes safely, and writes our own."""
