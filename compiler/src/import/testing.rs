//! Small models, built in code.
