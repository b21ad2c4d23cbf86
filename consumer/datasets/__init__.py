"""Write, describe and read data-set folders."""
