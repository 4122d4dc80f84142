//! Sound and broken models through the importer.

mod bytes;
mod early;
mod external;
mod functions;
mod fuzz;
mod names;
mod subgraphs;
mod tensors;
mod versions;
