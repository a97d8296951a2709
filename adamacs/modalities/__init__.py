"""One folder per kind of data. Each knows the spine; a derived one names those it stands on."""
