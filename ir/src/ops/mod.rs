//! The operators: one file each; this is the list.

mod arg;
mod average_pool;
mod batch_normalization;
mod broadcast;
mod conv;
mod elements;
mod gemm;
mod global_average_pool;
mod global_max_pool;
mod group_normalization;
mod instance_normalization;
mod layer_normalization;
mod lrn;
mod matmul;
mod max_pool;
mod nest;
mod norm;
mod operand;
mod reduce;
mod rms_normalization;
mod softmax;
mod spatial;
mod values;
#[cfg(test)]
mod testing;

use crate::op::OpDef;

/// Every operator, sorted by domain and name.
pub static OPS: &[OpDef] = &[
    arg::MAX,
    arg::MIN,
    average_pool::DEF,
    batch_normalization::DEF,
    conv::DEF,
    gemm::DEF,
    global_average_pool::DEF,
    global_max_pool::DEF,
    group_normalization::DEF,
    instance_normalization::DEF,
    lrn::DEF,
    layer_normalization::DEF,
    softmax::LOG_SOFTMAX,
    matmul::DEF,
    max_pool::DEF,
    rms_normalization::DEF,
    reduce::L1,
    reduce::L2,
    reduce::LOG_SUM,
    reduce::LOG_SUM_EXP,
    reduce::MAX,
    reduce::MEAN,
    reduce::MIN,
    reduce::PROD,
    reduce::SUM,
    reduce::SUM_SQUARE,
    softmax::SOFTMAX,
];

/// The definition of an operator.
pub fn find(domain: &str, name: &str) -> Option<&'static OpDef> {
    let domain = if domain == "ai.onnx" { "" } else { domain };
    OPS.iter().find(|def| def.domain == domain && def.name == name)
}
