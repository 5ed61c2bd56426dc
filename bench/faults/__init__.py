"""`make faults`: what is said to patients, while the workers are killed, the broker forgets, the database stops and the
mail server cuts the line. The mail server's own ledger is compared with what the clinic's data say was due."""
