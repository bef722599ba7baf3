"""Jobs: a spec is planned, its blocks are made, and its outputs are written, resumed, checked and followed."""
