//! Reference interpreters: the living definition of what both IR levels mean.
