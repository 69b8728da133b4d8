"""The image: built without a container engine, and run as it is meant to be."""
