"""A small Listen-Attend-Spell recogniser in Keras, trained on synthetic speech."""
