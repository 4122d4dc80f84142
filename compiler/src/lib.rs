//! Kiln: ONNX in, a static library or machine code in memory out.
