"""Files, names, archives and schemas: how outside bytes are read and our own are written."""
