//! Small graphs for the tests of rules and passes, and what they compute.
