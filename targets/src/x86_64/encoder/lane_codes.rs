//! Which instruction an operation on lanes other than f32 is in each encoding: see [`super::codes`].

use iced_x86::Code;

use super::codes::Codes;

macro_rules! codes {
    ($($name:ident: $legacy:ident, $xmm:ident, $ymm:ident, $zmm:ident;)*) => {
        $(pub(super) const $name: Codes = [Code::$legacy, Code::$xmm, Code::$ymm, Code::$zmm];)*
    };
}

codes! {
    ADD_F64: Addpd_xmm_xmmm128, VEX_Vaddpd_xmm_xmm_xmmm128, VEX_Vaddpd_ymm_ymm_ymmm256,
        EVEX_Vaddpd_zmm_k1z_zmm_zmmm512b64_er;
    SUB_F64: Subpd_xmm_xmmm128, VEX_Vsubpd_xmm_xmm_xmmm128, VEX_Vsubpd_ymm_ymm_ymmm256,
        EVEX_Vsubpd_zmm_k1z_zmm_zmmm512b64_er;
    MUL_F64: Mulpd_xmm_xmmm128, VEX_Vmulpd_xmm_xmm_xmmm128, VEX_Vmulpd_ymm_ymm_ymmm256,
        EVEX_Vmulpd_zmm_k1z_zmm_zmmm512b64_er;
    DIV_F64: Divpd_xmm_xmmm128, VEX_Vdivpd_xmm_xmm_xmmm128, VEX_Vdivpd_ymm_ymm_ymmm256,
        EVEX_Vdivpd_zmm_k1z_zmm_zmmm512b64_er;
    MIN_F64: Minpd_xmm_xmmm128, VEX_Vminpd_xmm_xmm_xmmm128, VEX_Vminpd_ymm_ymm_ymmm256,
        EVEX_Vminpd_zmm_k1z_zmm_zmmm512b64_sae;
    MAX_F64: Maxpd_xmm_xmmm128, VEX_Vmaxpd_xmm_xmm_xmmm128, VEX_Vmaxpd_ymm_ymm_ymmm256,
        EVEX_Vmaxpd_zmm_k1z_zmm_zmmm512b64_sae;
    SQRT_F64: Sqrtpd_xmm_xmmm128, VEX_Vsqrtpd_xmm_xmmm128, VEX_Vsqrtpd_ymm_ymmm256,
        EVEX_Vsqrtpd_zmm_k1z_zmmm512b64_er;
    COMPARE_F64: Cmppd_xmm_xmmm128_imm8, VEX_Vcmppd_xmm_xmm_xmmm128_imm8, VEX_Vcmppd_ymm_ymm_ymmm256_imm8,
        EVEX_Vcmppd_kr_k1_zmm_zmmm512b64_imm8_sae;
    // The first is SSE4.1.
    ROUND_F64: Roundpd_xmm_xmmm128_imm8, VEX_Vroundpd_xmm_xmmm128_imm8, VEX_Vroundpd_ymm_ymmm256_imm8,
        EVEX_Vrndscalepd_zmm_k1z_zmmm512b64_imm8_sae;
    // The 128-bit one is FMA's, not AVX's.
    FMA_231_F64: INVALID, VEX_Vfmadd231pd_xmm_xmm_xmmm128, VEX_Vfmadd231pd_ymm_ymm_ymmm256,
        EVEX_Vfmadd231pd_zmm_k1z_zmm_zmmm512b64_er;
    FMA_213_F64: INVALID, VEX_Vfmadd213pd_xmm_xmm_xmmm128, VEX_Vfmadd213pd_ymm_ymm_ymmm256,
        EVEX_Vfmadd213pd_zmm_k1z_zmm_zmmm512b64_er;

    ADD_I64: Paddq_xmm_xmmm128, VEX_Vpaddq_xmm_xmm_xmmm128, VEX_Vpaddq_ymm_ymm_ymmm256,
        EVEX_Vpaddq_zmm_k1z_zmm_zmmm512b64;
    SUB_I64: Psubq_xmm_xmmm128, VEX_Vpsubq_xmm_xmm_xmmm128, VEX_Vpsubq_ymm_ymm_ymmm256,
        EVEX_Vpsubq_zmm_k1z_zmm_zmmm512b64;
    MUL_I64: INVALID, INVALID, INVALID, EVEX_Vpmullq_zmm_k1z_zmm_zmmm512b64;
    // Of the low halves of lanes of 64 bits.
    MUL_LOW_U32: Pmuludq_xmm_xmmm128, VEX_Vpmuludq_xmm_xmm_xmmm128, VEX_Vpmuludq_ymm_ymm_ymmm256,
        EVEX_Vpmuludq_zmm_k1z_zmm_zmmm512b64;
    MIN_I64: INVALID, INVALID, INVALID, EVEX_Vpminsq_zmm_k1z_zmm_zmmm512b64;
    MAX_I64: INVALID, INVALID, INVALID, EVEX_Vpmaxsq_zmm_k1z_zmm_zmmm512b64;
    MIN_U64: INVALID, INVALID, INVALID, EVEX_Vpminuq_zmm_k1z_zmm_zmmm512b64;
    MAX_U64: INVALID, INVALID, INVALID, EVEX_Vpmaxuq_zmm_k1z_zmm_zmmm512b64;
    // The first of these is SSE4.1.
    MUL_I32: Pmulld_xmm_xmmm128, VEX_Vpmulld_xmm_xmm_xmmm128, VEX_Vpmulld_ymm_ymm_ymmm256,
        EVEX_Vpmulld_zmm_k1z_zmm_zmmm512b32;
    MIN_I32: Pminsd_xmm_xmmm128, VEX_Vpminsd_xmm_xmm_xmmm128, VEX_Vpminsd_ymm_ymm_ymmm256,
        EVEX_Vpminsd_zmm_k1z_zmm_zmmm512b32;
    MAX_I32: Pmaxsd_xmm_xmmm128, VEX_Vpmaxsd_xmm_xmm_xmmm128, VEX_Vpmaxsd_ymm_ymm_ymmm256,
        EVEX_Vpmaxsd_zmm_k1z_zmm_zmmm512b32;
    MIN_U32: Pminud_xmm_xmmm128, VEX_Vpminud_xmm_xmm_xmmm128, VEX_Vpminud_ymm_ymm_ymmm256,
        EVEX_Vpminud_zmm_k1z_zmm_zmmm512b32;
    MAX_U32: Pmaxud_xmm_xmmm128, VEX_Vpmaxud_xmm_xmm_xmmm128, VEX_Vpmaxud_ymm_ymm_ymmm256,
        EVEX_Vpmaxud_zmm_k1z_zmm_zmmm512b32;
    EQUAL_I64: Pcmpeqq_xmm_xmmm128, VEX_Vpcmpeqq_xmm_xmm_xmmm128, VEX_Vpcmpeqq_ymm_ymm_ymmm256, INVALID;
    EXTEND_I32: Pmovsxdq_xmm_xmmm64, VEX_Vpmovsxdq_xmm_xmmm64, VEX_Vpmovsxdq_ymm_xmmm128,
        EVEX_Vpmovsxdq_zmm_k1z_ymmm256;
    EXTEND_U32: Pmovzxdq_xmm_xmmm64, VEX_Vpmovzxdq_xmm_xmmm64, VEX_Vpmovzxdq_ymm_xmmm128,
        EVEX_Vpmovzxdq_zmm_k1z_ymmm256;
    EXTEND_I8: Pmovsxbd_xmm_xmmm32, VEX_Vpmovsxbd_xmm_xmmm32, VEX_Vpmovsxbd_ymm_xmmm64,
        EVEX_Vpmovsxbd_zmm_k1z_xmmm128;
    EXTEND_U8: Pmovzxbd_xmm_xmmm32, VEX_Vpmovzxbd_xmm_xmmm32, VEX_Vpmovzxbd_ymm_xmmm64,
        EVEX_Vpmovzxbd_zmm_k1z_xmmm128;
    EXTEND_I16: Pmovsxwd_xmm_xmmm64, VEX_Vpmovsxwd_xmm_xmmm64, VEX_Vpmovsxwd_ymm_xmmm128,
        EVEX_Vpmovsxwd_zmm_k1z_ymmm256;
    EXTEND_U16: Pmovzxwd_xmm_xmmm64, VEX_Vpmovzxwd_xmm_xmmm64, VEX_Vpmovzxwd_ymm_xmmm128,
        EVEX_Vpmovzxwd_zmm_k1z_ymmm256;
    // F16C's, but for the last.
    F16_TO_F32: INVALID, VEX_Vcvtph2ps_xmm_xmmm64, VEX_Vcvtph2ps_ymm_xmmm128,
        EVEX_Vcvtph2ps_zmm_k1z_ymmm256_sae;
    F32_TO_F16: INVALID, VEX_Vcvtps2ph_xmmm64_xmm_imm8, VEX_Vcvtps2ph_xmmm128_ymm_imm8,
        EVEX_Vcvtps2ph_ymmm256_k1z_zmm_imm8_sae;
    // AVX-512 compares into masks: see COMPARE_I32 and its kin.
    EQUAL_I32: Pcmpeqd_xmm_xmmm128, VEX_Vpcmpeqd_xmm_xmm_xmmm128, VEX_Vpcmpeqd_ymm_ymm_ymmm256, INVALID;
    GREATER_I32: Pcmpgtd_xmm_xmmm128, VEX_Vpcmpgtd_xmm_xmm_xmmm128, VEX_Vpcmpgtd_ymm_ymm_ymmm256, INVALID;
    // The first would be SSE4.2.
    GREATER_I64: INVALID, VEX_Vpcmpgtq_xmm_xmm_xmmm128, VEX_Vpcmpgtq_ymm_ymm_ymmm256, INVALID;

    SHIFT_LEFT_64: Psllq_xmm_imm8, VEX_Vpsllq_xmm_xmm_imm8, VEX_Vpsllq_ymm_ymm_imm8,
        EVEX_Vpsllq_zmm_k1z_zmmm512b64_imm8;
    SHIFT_RIGHT_64: Psrlq_xmm_imm8, VEX_Vpsrlq_xmm_xmm_imm8, VEX_Vpsrlq_ymm_ymm_imm8,
        EVEX_Vpsrlq_zmm_k1z_zmmm512b64_imm8;
    SHIFT_SIGNED: Psrad_xmm_imm8, VEX_Vpsrad_xmm_xmm_imm8, VEX_Vpsrad_ymm_ymm_imm8,
        EVEX_Vpsrad_zmm_k1z_zmmm512b32_imm8;
    SHIFT_SIGNED_64: INVALID, INVALID, INVALID, EVEX_Vpsraq_zmm_k1z_zmmm512b64_imm8;
    SHIFT_LEFT_BY: INVALID, INVALID, VEX_Vpsllvd_ymm_ymm_ymmm256, EVEX_Vpsllvd_zmm_k1z_zmm_zmmm512b32;
    SHIFT_RIGHT_BY: INVALID, INVALID, VEX_Vpsrlvd_ymm_ymm_ymmm256, EVEX_Vpsrlvd_zmm_k1z_zmm_zmmm512b32;
    SHIFT_LEFT_BY_64: INVALID, INVALID, VEX_Vpsllvq_ymm_ymm_ymmm256, EVEX_Vpsllvq_zmm_k1z_zmm_zmmm512b64;
    SHIFT_RIGHT_BY_64: INVALID, INVALID, VEX_Vpsrlvq_ymm_ymm_ymmm256, EVEX_Vpsrlvq_zmm_k1z_zmm_zmmm512b64;

    F32_TO_F64: Cvtps2pd_xmm_xmmm64, VEX_Vcvtps2pd_xmm_xmmm64, VEX_Vcvtps2pd_ymm_xmmm128,
        EVEX_Vcvtps2pd_zmm_k1z_ymmm256b32_sae;
    F64_TO_F32: Cvtpd2ps_xmm_xmmm128, VEX_Vcvtpd2ps_xmm_xmmm128, VEX_Vcvtpd2ps_xmm_ymmm256,
        EVEX_Vcvtpd2ps_ymm_k1z_zmmm512b64_er;
    I32_TO_F64: Cvtdq2pd_xmm_xmmm64, VEX_Vcvtdq2pd_xmm_xmmm64, VEX_Vcvtdq2pd_ymm_xmmm128,
        EVEX_Vcvtdq2pd_zmm_k1z_ymmm256b32_er;
    TRUNCATE: Cvttps2dq_xmm_xmmm128, VEX_Vcvttps2dq_xmm_xmmm128, VEX_Vcvttps2dq_ymm_ymmm256,
        EVEX_Vcvttps2dq_zmm_k1z_zmmm512b32_sae;
    // Elements of 32 bits alternating, within 128 bits.
    UNPACK_I32: Punpckldq_xmm_xmmm128, VEX_Vpunpckldq_xmm_xmm_xmmm128, INVALID, INVALID;
    // Products of bytes and words; of 512 bits they are BW's and VNNI's, the first of 256 is AVX-VNNI's.
    DOT_BYTES: INVALID, INVALID, VEX_Vpdpbusd_ymm_ymm_ymmm256, EVEX_Vpdpbusd_zmm_k1z_zmm_zmmm512b32;
    DOT_WORDS: INVALID, INVALID, VEX_Vpdpwssd_ymm_ymm_ymmm256, EVEX_Vpdpwssd_zmm_k1z_zmm_zmmm512b32;
    TEST: INVALID, VEX_Vptest_xmm_xmmm128, VEX_Vptest_ymm_ymmm256, INVALID;
    MADD_WORDS: Pmaddwd_xmm_xmmm128, VEX_Vpmaddwd_xmm_xmm_xmmm128, VEX_Vpmaddwd_ymm_ymm_ymmm256,
        EVEX_Vpmaddwd_zmm_k1z_zmm_zmmm512;
    MADD_BYTES: Pmaddubsw_xmm_xmmm128, VEX_Vpmaddubsw_xmm_xmm_xmmm128, VEX_Vpmaddubsw_ymm_ymm_ymmm256,
        EVEX_Vpmaddubsw_zmm_k1z_zmm_zmmm512;
    EXTEND_BYTES: Pmovsxbw_xmm_xmmm64, VEX_Vpmovsxbw_xmm_xmmm64, VEX_Vpmovsxbw_ymm_xmmm128,
        EVEX_Vpmovsxbw_zmm_k1z_ymmm256;
    EXTEND_UNSIGNED_BYTES: Pmovzxbw_xmm_xmmm64, VEX_Vpmovzxbw_xmm_xmmm64, VEX_Vpmovzxbw_ymm_xmmm128,
        EVEX_Vpmovzxbw_zmm_k1z_ymmm256;
    ADD_WORDS: Paddw_xmm_xmmm128, VEX_Vpaddw_xmm_xmm_xmmm128, VEX_Vpaddw_ymm_ymm_ymmm256,
        EVEX_Vpaddw_zmm_k1z_zmm_zmmm512;
    SUB_WORDS: Psubw_xmm_xmmm128, VEX_Vpsubw_xmm_xmm_xmmm128, VEX_Vpsubw_ymm_ymm_ymmm256,
        EVEX_Vpsubw_zmm_k1z_zmm_zmmm512;
    MAX_BYTES: Pmaxub_xmm_xmmm128, VEX_Vpmaxub_xmm_xmm_xmmm128, VEX_Vpmaxub_ymm_ymm_ymmm256,
        EVEX_Vpmaxub_zmm_k1z_zmm_zmmm512;
    SHIFT_WORDS_LEFT: Psllw_xmm_imm8, VEX_Vpsllw_xmm_xmm_imm8, VEX_Vpsllw_ymm_ymm_imm8,
        EVEX_Vpsllw_zmm_k1z_zmmm512_imm8;
    // The same 16 bytes in every quarter; the same 128 bits.
    LOAD_QUARTERS: Movups_xmm_xmmm128, VEX_Vmovups_xmm_xmmm128, VEX_Vbroadcasti128_ymm_m128,
        EVEX_Vbroadcasti32x4_zmm_k1z_m128;
    ADD_BYTES_SATURATING: Paddusb_xmm_xmmm128, VEX_Vpaddusb_xmm_xmm_xmmm128, VEX_Vpaddusb_ymm_ymm_ymmm256,
        EVEX_Vpaddusb_zmm_k1z_zmm_zmmm512;
    // The first is SSSE3.
    SHUFFLE_BYTES: Pshufb_xmm_xmmm128, VEX_Vpshufb_xmm_xmm_xmmm128, VEX_Vpshufb_ymm_ymm_ymmm256,
        EVEX_Vpshufb_zmm_k1z_zmm_zmmm512;
    SHIFT_WORDS_SIGNED: Psraw_xmm_imm8, VEX_Vpsraw_xmm_xmm_imm8, INVALID, INVALID;
    UNPACK_I64: Punpcklqdq_xmm_xmmm128, VEX_Vpunpcklqdq_xmm_xmm_xmmm128, INVALID, INVALID;
    UNPACK_LOWER_32: Punpckldq_xmm_xmmm128, VEX_Vpunpckldq_xmm_xmm_xmmm128, VEX_Vpunpckldq_ymm_ymm_ymmm256,
        EVEX_Vpunpckldq_zmm_k1z_zmm_zmmm512b32;
    UNPACK_UPPER_32: Punpckhdq_xmm_xmmm128, VEX_Vpunpckhdq_xmm_xmm_xmmm128, VEX_Vpunpckhdq_ymm_ymm_ymmm256,
        EVEX_Vpunpckhdq_zmm_k1z_zmm_zmmm512b32;
    UNPACK_LOWER_64: Punpcklqdq_xmm_xmmm128, VEX_Vpunpcklqdq_xmm_xmm_xmmm128, VEX_Vpunpcklqdq_ymm_ymm_ymmm256,
        EVEX_Vpunpcklqdq_zmm_k1z_zmm_zmmm512b64;
    UNPACK_UPPER_64: Punpckhqdq_xmm_xmmm128, VEX_Vpunpckhqdq_xmm_xmm_xmmm128, VEX_Vpunpckhqdq_ymm_ymm_ymmm256,
        EVEX_Vpunpckhqdq_zmm_k1z_zmm_zmmm512b64;
    // Lanes to words and words to bytes, the nearest there are, in each 128 bits of one vector and then of the other.
    PACK_LANES: Packssdw_xmm_xmmm128, VEX_Vpackssdw_xmm_xmm_xmmm128, VEX_Vpackssdw_ymm_ymm_ymmm256,
        EVEX_Vpackssdw_zmm_k1z_zmm_zmmm512b32;
    PACK_WORDS: Packuswb_xmm_xmmm128, VEX_Vpackuswb_xmm_xmm_xmmm128, VEX_Vpackuswb_ymm_ymm_ymmm256,
        EVEX_Vpackuswb_zmm_k1z_zmm_zmmm512;
    // Lanes of all 256 or 512 bits, by numbers in the first operand.
    PERMUTE_LANES: INVALID, INVALID, VEX_Vpermd_ymm_ymm_ymmm256, EVEX_Vpermd_zmm_k1z_zmm_zmmm512b32;
    BROADCAST_64: INVALID, VEX_Vmovddup_xmm_xmmm64, VEX_Vbroadcastsd_ymm_m64, EVEX_Vbroadcastsd_zmm_k1z_xmmm64;
}

/// Into a mask register, by one of the predicates 0 equal, 1 less, 2 less or equal.
pub(super) const COMPARE_I32: Code = Code::EVEX_Vpcmpd_kr_k1_zmm_zmmm512b32_imm8;
pub(super) const COMPARE_U32: Code = Code::EVEX_Vpcmpud_kr_k1_zmm_zmmm512b32_imm8;
pub(super) const COMPARE_I64: Code = Code::EVEX_Vpcmpq_kr_k1_zmm_zmmm512b64_imm8;
pub(super) const COMPARE_U64: Code = Code::EVEX_Vpcmpuq_kr_k1_zmm_zmmm512b64_imm8;

/// Instructions of 128 bits that 256-bit code uses too.
pub(super) const fn halves(legacy: Code, vex: Code) -> Codes {
    [legacy, vex, vex, Code::INVALID]
}

/// The same with an instruction of 512 bits.
const fn with_zmm([legacy, xmm, ymm, _]: Codes, zmm: Code) -> Codes {
    [legacy, xmm, ymm, zmm]
}

pub(super) const LOAD_WORD: Codes =
    halves(Code::Pinsrw_xmm_r32m16_imm8, Code::VEX_Vpinsrw_xmm_xmm_r32m16_imm8);
pub(super) const TAKE_WORD: Codes = halves(Code::Pextrw_r32_xmm_imm8, Code::VEX_Vpextrw_r32_xmm_imm8);
pub(super) const LOAD_4: Codes = halves(Code::Movd_xmm_rm32, Code::VEX_Vmovd_xmm_rm32);
pub(super) const LOAD_8: Codes = halves(Code::Movq_xmm_xmmm64, Code::VEX_Vmovq_xmm_xmmm64);
pub(super) const STORE_4: Codes = halves(Code::Movd_rm32_xmm, Code::VEX_Vmovd_rm32_xmm);
pub(super) const STORE_8: Codes = halves(Code::Movq_xmmm64_xmm, Code::VEX_Vmovq_xmmm64_xmm);
pub(super) const STORE_16: Codes = halves(Code::Movups_xmmm128_xmm, Code::VEX_Vmovups_xmmm128_xmm);
pub(super) const STORE_UPPER_8: Codes = halves(Code::Movhps_m64_xmm, Code::VEX_Vmovhps_m64_xmm);
pub(super) const SHIFT_BYTES: Codes = halves(Code::Psrldq_xmm_imm8, Code::VEX_Vpsrldq_xmm_xmm_imm8);
pub(super) const CLEAR: Codes = halves(Code::Xorps_xmm_xmmm128, Code::VEX_Vxorps_xmm_xmm_xmmm128);
pub(super) const PACK_I32: Codes = halves(Code::Packssdw_xmm_xmmm128, Code::VEX_Vpackssdw_xmm_xmm_xmmm128);
pub(super) const PACK_I16: Codes = halves(Code::Packsswb_xmm_xmmm128, Code::VEX_Vpacksswb_xmm_xmm_xmmm128);
pub(super) const PACK_U8: Codes = halves(Code::Packuswb_xmm_xmmm128, Code::VEX_Vpackuswb_xmm_xmm_xmmm128);
pub(super) const MAX_WORDS: Codes = [
    Code::Pmaxsw_xmm_xmmm128,
    Code::VEX_Vpmaxsw_xmm_xmm_xmmm128,
    Code::VEX_Vpmaxsw_ymm_ymm_ymmm256,
    Code::INVALID,
];
pub(super) const MIN_WORDS: Codes = [
    Code::Pminsw_xmm_xmmm128,
    Code::VEX_Vpminsw_xmm_xmm_xmmm128,
    Code::VEX_Vpminsw_ymm_ymm_ymmm256,
    Code::INVALID,
];
pub(super) const UNPACK_BYTES: Codes =
    halves(Code::Punpcklbw_xmm_xmmm128, Code::VEX_Vpunpcklbw_xmm_xmm_xmmm128);
pub(super) const UNPACK_WORDS: Codes =
    halves(Code::Punpcklwd_xmm_xmmm128, Code::VEX_Vpunpcklwd_xmm_xmm_xmmm128);
/// Elements of 1, 2, 4 and 8 bytes in turn, of the lower halves and of the upper ones of each 128 bits.
pub(super) const UNPACK: [[Codes; 4]; 2] = [
    [
        with_zmm(UNPACK_BYTES, Code::EVEX_Vpunpcklbw_zmm_k1z_zmm_zmmm512),
        with_zmm(UNPACK_WORDS, Code::EVEX_Vpunpcklwd_zmm_k1z_zmm_zmmm512),
        UNPACK_LOWER_32,
        UNPACK_LOWER_64,
    ],
    [
        with_zmm(
            halves(Code::Punpckhbw_xmm_xmmm128, Code::VEX_Vpunpckhbw_xmm_xmm_xmmm128),
            Code::EVEX_Vpunpckhbw_zmm_k1z_zmm_zmmm512,
        ),
        with_zmm(
            halves(Code::Punpckhwd_xmm_xmmm128, Code::VEX_Vpunpckhwd_xmm_xmm_xmmm128),
            Code::EVEX_Vpunpckhwd_zmm_k1z_zmm_zmmm512,
        ),
        UNPACK_UPPER_32,
        UNPACK_UPPER_64,
    ],
];
