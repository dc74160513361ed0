"""`python -m keras_faces.ledger docs/departures.md` writes the departure ledger."""

from keras_faces.ledger import main

main()
