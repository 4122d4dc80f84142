//! Sound and broken models through the importer.
