//! Which instruction an operation is in each encoding.

use iced_x86::Code;

/// How vector instructions are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// SSE2 and 128 bits: the first source is the destination, and operands in memory have to be aligned.
    Legacy,
    /// AVX and 128 bits; nothing of AVX2.
    Vex128,
    /// AVX2, FMA and 256 bits.
    Vex256,
    /// AVX-512 F and DQ, 512 bits.
    Evex512,
}

/// The instruction in each [`Encoding`], in that order.
pub(super) type Codes = [Code; 4];

/// What an encoding does in another way, or never.
const NONE: Code = Code::INVALID;

macro_rules! codes {
    ($($name:ident: $legacy:ident, $xmm:ident, $ymm:ident, $zmm:ident;)*) => {
        $(pub(super) const $name: Codes = [Code::$legacy, Code::$xmm, Code::$ymm, Code::$zmm];)*
    };
}

codes! {
    LOAD: Movups_xmm_xmmm128, VEX_Vmovups_xmm_xmmm128, VEX_Vmovups_ymm_ymmm256, EVEX_Vmovups_zmm_k1z_zmmm512;
    STORE: Movups_xmmm128_xmm, VEX_Vmovups_xmmm128_xmm, VEX_Vmovups_ymmm256_ymm, EVEX_Vmovups_zmmm512_k1z_zmm;
    MOVE: Movaps_xmm_xmmm128, VEX_Vmovaps_xmm_xmmm128, VEX_Vmovaps_ymm_ymmm256, EVEX_Vmovaps_zmm_k1z_zmmm512;
    ADD: Addps_xmm_xmmm128, VEX_Vaddps_xmm_xmm_xmmm128, VEX_Vaddps_ymm_ymm_ymmm256,
        EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er;
    SUB: Subps_xmm_xmmm128, VEX_Vsubps_xmm_xmm_xmmm128, VEX_Vsubps_ymm_ymm_ymmm256,
        EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er;
    MUL: Mulps_xmm_xmmm128, VEX_Vmulps_xmm_xmm_xmmm128, VEX_Vmulps_ymm_ymm_ymmm256,
        EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er;
    DIV: Divps_xmm_xmmm128, VEX_Vdivps_xmm_xmm_xmmm128, VEX_Vdivps_ymm_ymm_ymmm256,
        EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er;
    MIN: Minps_xmm_xmmm128, VEX_Vminps_xmm_xmm_xmmm128, VEX_Vminps_ymm_ymm_ymmm256,
        EVEX_Vminps_zmm_k1z_zmm_zmmm512b32_sae;
    MAX: Maxps_xmm_xmmm128, VEX_Vmaxps_xmm_xmm_xmmm128, VEX_Vmaxps_ymm_ymm_ymmm256,
        EVEX_Vmaxps_zmm_k1z_zmm_zmmm512b32_sae;
    AND: Andps_xmm_xmmm128, VEX_Vandps_xmm_xmm_xmmm128, VEX_Vandps_ymm_ymm_ymmm256,
        EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32;
    OR: Orps_xmm_xmmm128, VEX_Vorps_xmm_xmm_xmmm128, VEX_Vorps_ymm_ymm_ymmm256,
        EVEX_Vpord_zmm_k1z_zmm_zmmm512b32;
    XOR: Xorps_xmm_xmmm128, VEX_Vxorps_xmm_xmm_xmmm128, VEX_Vxorps_ymm_ymm_ymmm256,
        EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32;
    AND_NOT: Andnps_xmm_xmmm128, VEX_Vandnps_xmm_xmm_xmmm128, VEX_Vandnps_ymm_ymm_ymmm256,
        EVEX_Vpandnd_zmm_k1z_zmm_zmmm512b32;
    INT_ADD: Paddd_xmm_xmmm128, VEX_Vpaddd_xmm_xmm_xmmm128, VEX_Vpaddd_ymm_ymm_ymmm256,
        EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32;
    INT_SUB: Psubd_xmm_xmmm128, VEX_Vpsubd_xmm_xmm_xmmm128, VEX_Vpsubd_ymm_ymm_ymmm256,
        EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32;
    SQRT: Sqrtps_xmm_xmmm128, VEX_Vsqrtps_xmm_xmmm128, VEX_Vsqrtps_ymm_ymmm256,
        EVEX_Vsqrtps_zmm_k1z_zmmm512b32_er;
    TO_INT: Cvtps2dq_xmm_xmmm128, VEX_Vcvtps2dq_xmm_xmmm128, VEX_Vcvtps2dq_ymm_ymmm256,
        EVEX_Vcvtps2dq_zmm_k1z_zmmm512b32_er;
    TO_FLOAT: Cvtdq2ps_xmm_xmmm128, VEX_Vcvtdq2ps_xmm_xmmm128, VEX_Vcvtdq2ps_ymm_ymmm256,
        EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er;
    // The first is SSE4.1.
    ROUND: Roundps_xmm_xmmm128_imm8, VEX_Vroundps_xmm_xmmm128_imm8, VEX_Vroundps_ymm_ymmm256_imm8,
        EVEX_Vrndscaleps_zmm_k1z_zmmm512b32_imm8_sae;
    SHIFT_LEFT: Pslld_xmm_imm8, VEX_Vpslld_xmm_xmm_imm8, VEX_Vpslld_ymm_ymm_imm8,
        EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8;
    SHIFT_RIGHT: Psrld_xmm_imm8, VEX_Vpsrld_xmm_xmm_imm8, VEX_Vpsrld_ymm_ymm_imm8,
        EVEX_Vpsrld_zmm_k1z_zmmm512b32_imm8;
    COMPARE: Cmpps_xmm_xmmm128_imm8, VEX_Vcmpps_xmm_xmm_xmmm128_imm8, VEX_Vcmpps_ymm_ymm_ymmm256_imm8,
        EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae;
    // Lanes within 128 bits.
    PERMUTE: Pshufd_xmm_xmmm128_imm8, VEX_Vpermilps_xmm_xmmm128_imm8, VEX_Vpermilps_ymm_ymmm256_imm8,
        EVEX_Vpermilps_zmm_k1z_zmmm512b32_imm8;
}

/// Without AVX an element is loaded, then spread.
pub(super) const BROADCAST: Codes = [
    NONE,
    Code::VEX_Vbroadcastss_xmm_m32,
    Code::VEX_Vbroadcastss_ymm_m32,
    Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32,
];
/// The 128-bit one is FMA's, not AVX's.
pub(super) const FMA_231: Codes = [
    NONE,
    Code::VEX_Vfmadd231ps_xmm_xmm_xmmm128,
    Code::VEX_Vfmadd231ps_ymm_ymm_ymmm256,
    Code::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er,
];
/// The same with the sum in the place of a factor.
pub(super) const FMA_213: Codes = [
    NONE,
    Code::VEX_Vfmadd213ps_xmm_xmm_xmmm128,
    Code::VEX_Vfmadd213ps_ymm_ymm_ymmm256,
    Code::EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er,
];
/// By the sign bits of a vector; AVX-512 has masks instead.
pub(super) const BLEND: Codes =
    [NONE, Code::VEX_Vblendvps_xmm_xmm_xmmm128_xmm, Code::VEX_Vblendvps_ymm_ymm_ymmm256_ymm, NONE];

/// The same instruction on 128 bits with and without VEX, for what is done there only.
pub(super) const fn narrow(legacy: Code, vex: Code) -> Codes {
    [legacy, vex, NONE, NONE]
}

/// Elements 0 and 1 of two vectors alternating.
pub(super) const UNPACK_LOW: Codes = narrow(Code::Unpcklps_xmm_xmmm128, Code::VEX_Vunpcklps_xmm_xmm_xmmm128);
/// The low halves of two vectors.
pub(super) const LOW_HALVES: Codes = narrow(Code::Movlhps_xmm_xmm, Code::VEX_Vmovlhps_xmm_xmm_xmm);
/// The high half of the second vector, then the one of the first.
pub(super) const HIGH_HALVES: Codes = narrow(Code::Movhlps_xmm_xmm, Code::VEX_Vmovhlps_xmm_xmm_xmm);
/// One element, the others 0.
pub(super) const LOAD_1: Codes = narrow(Code::Movss_xmm_xmmm32, Code::VEX_Vmovss_xmm_m32);
/// One element.
pub(super) const STORE_1: Codes = narrow(Code::Movss_xmmm32_xmm, Code::VEX_Vmovss_m32_xmm);
/// Two elements, the others 0.
pub(super) const LOAD_2: Codes = narrow(Code::Movsd_xmm_xmmm64, Code::VEX_Vmovsd_xmm_m64);
/// Two elements.
pub(super) const STORE_2: Codes = narrow(Code::Movsd_xmmm64_xmm, Code::VEX_Vmovsd_m64_xmm);
