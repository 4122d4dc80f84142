//! Sound and broken models through the importer.

mod bytes;
mod external;
mod functions;
mod fuzz;
mod names;
mod subgraphs;
mod tensors;
mod versions;
