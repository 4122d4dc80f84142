//! The operators: one file each; this is the list.

pub mod activation;
pub mod affine_grid;
mod aligned;
pub mod arg;
mod attend;
pub mod attention;
pub mod average_pool;
pub mod batch_normalization;
mod batch_statistics;
pub mod bias_gelu;
pub mod binary;
pub mod bit_shift;
mod body;
mod broadcast;
pub mod cast;
pub mod center_crop_pad;
pub mod checked;
pub mod clip;
pub mod col2im;
mod composed;
pub mod compress;
pub mod concat;
pub mod constant;
pub mod conv;
pub mod conv_integer;
pub mod conv_transpose;
pub mod counted;
pub mod cum_sum;
mod declared;
pub mod deform_conv;
pub mod depth_space;
pub mod dequantize_linear;
pub mod det;
pub mod dft;
pub mod dropout;
pub mod dynamic_quantize_linear;
pub mod einsum;
pub(crate) mod elements;
mod elementwise;
#[cfg(test)]
mod every_type_tests;
pub mod expand;
mod factor;
pub mod fill;
pub mod flatten;
mod formulas;
pub mod fused;
pub mod fused_matmul;
pub mod gather;
pub mod gather_elements;
pub mod gather_nd;
pub mod gelu;
pub mod gemm;
pub mod global_average_pool;
pub mod global_max_pool;
pub mod grid_sample;
pub mod group_normalization;
pub mod group_query_attention;
pub mod hardmax;
pub mod identity;
pub mod if_;
pub mod instance_normalization;
pub mod is_inf;
pub mod layer_normalization;
pub mod loop_;
pub mod loss;
#[cfg(test)]
mod lowering_tests;
pub mod lp_normalization;
pub mod lp_pool;
pub mod lrn;
mod made;
pub mod matmul;
pub mod matmul_integer;
pub mod matmul_integer_to_float;
pub mod matmul_nbits;
pub mod max_pool;
pub mod max_unpool;
pub mod mean_variance_normalization;
pub mod mel_weight_matrix;
pub mod ml;
pub mod modulo;
mod movement;
pub mod multi_head_attention;
mod nest;
pub mod non_max_suppression;
pub mod non_zero;
mod norm;
pub mod one_hot;
mod operand;
pub mod optimizer;
pub mod optional;
mod packed_product;
pub mod pad;
pub mod pow;
pub mod prelu;
pub mod qgemm;
pub mod qlinear;
pub mod qlinear_conv;
pub mod qlinear_matmul;
mod quantization;
pub mod quantize_linear;
pub mod random;
pub mod range;
pub mod recurrent;
pub mod reduce;
mod repeated;
mod requantize;
pub mod reshape;
pub mod resize;
pub mod reverse_sequence;
pub mod rms_normalization;
pub mod roi_align;
pub mod rotary_embedding;
mod sampling;
pub mod scan;
pub mod scatter;
pub mod sequence;
pub mod shape;
pub mod skip_normalization;
pub mod slice;
mod small;
pub mod softmax;
pub mod spatial;
pub mod split;
pub mod squeeze;
pub mod stft;
pub mod tensor_scatter;
#[cfg(test)]
mod testing;
pub mod tf_idf_vectorizer;
pub mod tile;
pub mod top_k;
pub mod transpose;
pub mod trilu;
pub mod unary;
pub mod unique;
pub mod upsample;
mod values;
pub mod variadic;
pub mod where_;
pub mod window;

pub use aligned::ALIGNED_AXIS;

use crate::op::OpDef;
use crate::types::DType;

/// Every operator, sorted by domain and name.
pub static OPS: &[OpDef] = &[
    unary::ABS,
    unary::ACOS,
    unary::ACOSH,
    binary::ADD,
    affine_grid::DEF,
    binary::AND,
    arg::MAX,
    arg::MIN,
    unary::ASIN,
    unary::ASINH,
    unary::ATAN,
    unary::ATANH,
    attention::DEF,
    average_pool::DEF,
    batch_normalization::DEF,
    random::BERNOULLI,
    bit_shift::DEF,
    binary::BITWISE_AND,
    unary::BITWISE_NOT,
    binary::BITWISE_OR,
    binary::BITWISE_XOR,
    window::BLACKMAN,
    cast::DEF,
    cast::LIKE,
    unary::CEIL,
    activation::CELU,
    center_crop_pad::DEF,
    clip::DEF,
    col2im::DEF,
    compress::DEF,
    concat::DEF,
    sequence::CONCAT,
    constant::DEF,
    fill::CONSTANT_OF_SHAPE,
    conv::DEF,
    conv_integer::DEF,
    conv_transpose::DEF,
    unary::COS,
    unary::COSH,
    cum_sum::DEF,
    dft::DEF,
    deform_conv::DEF,
    depth_space::TO_SPACE,
    dequantize_linear::DEF,
    det::DEF,
    binary::DIV,
    dropout::DEF,
    dynamic_quantize_linear::DEF,
    einsum::DEF,
    activation::ELU,
    binary::EQUAL,
    unary::ERF,
    unary::EXP,
    expand::DEF,
    fill::EYE_LIKE,
    flatten::DEF,
    unary::FLOOR,
    recurrent::GRU,
    gather::DEF,
    gather_elements::DEF,
    gather_nd::DEF,
    gelu::DEF,
    gemm::DEF,
    global_average_pool::DEF,
    lp_pool::GLOBAL,
    global_max_pool::DEF,
    binary::GREATER,
    binary::GREATER_OR_EQUAL,
    grid_sample::DEF,
    group_normalization::DEF,
    window::HAMMING,
    window::HANN,
    activation::HARD_SIGMOID,
    unary::HARD_SWISH,
    hardmax::DEF,
    identity::DEF,
    if_::DEF,
    instance_normalization::DEF,
    is_inf::DEF,
    unary::IS_NAN,
    lrn::DEF,
    recurrent::LSTM,
    layer_normalization::DEF,
    activation::LEAKY_RELU,
    binary::LESS,
    binary::LESS_OR_EQUAL,
    unary::LOG,
    softmax::LOG_SOFTMAX,
    loop_::DEF,
    lp_normalization::DEF,
    lp_pool::DEF,
    matmul::DEF,
    matmul_integer::DEF,
    variadic::MAX,
    max_pool::DEF,
    max_unpool::DEF,
    variadic::MEAN,
    mean_variance_normalization::DEF,
    mel_weight_matrix::DEF,
    variadic::MIN,
    unary::MISH,
    modulo::DEF,
    binary::MUL,
    random::MULTINOMIAL,
    unary::NEG,
    loss::NEGATIVE_LOG_LIKELIHOOD,
    non_max_suppression::DEF,
    non_zero::DEF,
    unary::NOT,
    one_hot::DEF,
    optional::MAKE,
    optional::GET,
    optional::HAS,
    binary::OR,
    prelu::DEF,
    pad::DEF,
    pow::DEF,
    qlinear_conv::DEF,
    qlinear_matmul::DEF,
    quantize_linear::DEF,
    rms_normalization::DEF,
    recurrent::RNN,
    random::NORMAL,
    random::NORMAL_LIKE,
    random::UNIFORM,
    random::UNIFORM_LIKE,
    range::DEF,
    unary::RECIPROCAL,
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
    unary::RELU,
    reshape::DEF,
    resize::DEF,
    reverse_sequence::DEF,
    roi_align::DEF,
    rotary_embedding::DEF,
    unary::ROUND,
    stft::DEF,
    scan::DEF,
    scatter::FIRST,
    scatter::ELEMENTS,
    scatter::ND,
    activation::SELU,
    sequence::AT,
    sequence::CONSTRUCT,
    sequence::EMPTY,
    sequence::ERASE,
    sequence::INSERT,
    sequence::LENGTH,
    shape::DEF,
    activation::SHRINK,
    unary::SIGMOID,
    unary::SIGN,
    skip_normalization::SIMPLIFIED_DEFAULT,
    unary::SIN,
    unary::SINH,
    shape::SIZE,
    slice::DEF,
    softmax::SOFTMAX,
    loss::SOFTMAX_CROSS_ENTROPY,
    unary::SOFTPLUS,
    unary::SOFTSIGN,
    depth_space::TO_DEPTH,
    split::DEF,
    sequence::SPLIT,
    unary::SQRT,
    squeeze::SQUEEZE,
    binary::SUB,
    variadic::SUM,
    activation::SWISH,
    unary::TAN,
    unary::TANH,
    tensor_scatter::DEF,
    tf_idf_vectorizer::DEF,
    activation::THRESHOLDED_RELU,
    tile::DEF,
    top_k::DEF,
    transpose::DEF,
    trilu::DEF,
    unique::DEF,
    squeeze::UNSQUEEZE,
    upsample::DEF,
    where_::DEF,
    binary::XOR,
    ml::extractor::DEF,
    ml::scaling::BINARIZER,
    ml::scaling::IMPUTER,
    ml::linear::CLASSIFIER,
    ml::linear::REGRESSOR,
    ml::scaling::NORMALIZER,
    ml::svm::CLASSIFIER,
    ml::svm::REGRESSOR,
    ml::scaling::SCALER,
    ml::trees::DEF,
    ml::trees::CLASSIFIER,
    ml::trees::REGRESSOR,
    optimizer::ADAGRAD,
    optimizer::ADAM,
    optimizer::MOMENTUM,
    multi_head_attention::SELF,
    bias_gelu::BIAS,
    dequantize_linear::MICROSOFT,
    recurrent::QUANTISED,
    matmul_integer_to_float::DYNAMIC,
    bias_gelu::FAST,
    fused::CONV,
    fused::GEMM,
    fused_matmul::DEF,
    bias_gelu::PLAIN,
    group_query_attention::DEF,
    matmul_integer_to_float::DEF,
    matmul_nbits::DEF,
    multi_head_attention::DEF,
    qgemm::DEF,
    qlinear::ADD,
    qlinear::AVERAGE_POOL,
    qlinear::CONCAT,
    qlinear::GLOBAL_AVERAGE_POOL,
    qlinear::LEAKY_RELU,
    qlinear::MUL,
    qlinear::SIGMOID,
    qlinear::SOFTMAX,
    quantize_linear::MICROSOFT,
    bias_gelu::QUICK,
    rotary_embedding::MICROSOFT,
    skip_normalization::SIMPLIFIED,
    skip_normalization::SKIP,
    skip_normalization::SKIP_SIMPLIFIED,
    fused_matmul::TRANSPOSE,
];

/// Operators that others are made of: no model has them.
static MADE: &[OpDef] = &[
    counted::DISTINCT,
    counted::EXTENTS,
    counted::POSITIONS,
    counted::PREFIX,
    counted::SIZES,
    counted::SUPPRESSION,
];

/// The definition of an operator.
pub fn find(domain: &str, name: &str) -> Option<&'static OpDef> {
    let domain = if domain == "ai.onnx" { "" } else { domain };
    OPS.iter().find(|def| def.domain == domain && def.name == name)
}

/// The same, or an operator that passes make: what graphs have.
pub fn find_any(domain: &str, name: &str) -> Option<&'static OpDef> {
    find(domain, name).or_else(|| MADE.iter().find(|def| def.domain == domain && def.name == name))
}

/// Element types by operator of the default domain, a line each.
static TYPES: &str = include_str!("types.txt");

/// The element types of the data that an operator takes; empty for what is made of others or has no data.
pub fn types(def: &OpDef) -> Vec<DType> {
    let mut lines = TYPES.lines().filter(|_| def.domain.is_empty()).map(|line| line.split(' '));
    let words = lines.find_map(|mut words| (words.next() == Some(def.name)).then_some(words));
    words.into_iter().flatten().filter_map(DType::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_holds_each_operator_once() {
        let keys: Vec<_> = OPS.iter().map(|def| (def.domain, def.name)).collect();
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
    }
}
