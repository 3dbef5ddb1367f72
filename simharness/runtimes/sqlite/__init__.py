"""`sqlite3`: statements, transactions and locks as steps."""
