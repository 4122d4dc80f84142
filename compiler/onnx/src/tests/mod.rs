//! Sound and broken models through the importer.

mod bytes;
mod external;
mod functions;
mod names;
mod subgraphs;
mod tensors;
mod versions;
