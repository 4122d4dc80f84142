//! What a compiled model may rely on.
