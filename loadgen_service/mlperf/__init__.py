"""LoadGen's own file formats and official values: configuration in, logs out."""
