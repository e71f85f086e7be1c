"""The host's own commands. They come in by the same door as everybody's."""
