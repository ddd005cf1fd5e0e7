"""Reading data: bundled sets and tables from files."""
