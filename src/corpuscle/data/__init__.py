"""Where pictures and labels come from: catalog, fetching, decoding, splits, audit, drawn examples."""
