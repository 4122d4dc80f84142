//! Elements in memory over what builders do themselves: short integers, and 32 and 64 bits as they are.

use super::{Apart, Element, Lane, Narrow, Op1, Op2, Overflow, P, R, Simd, Src, V, short};

const BYTE: Narrow = Narrow { two: false, signed: false };
const HALF: Narrow = Narrow { two: true, signed: false };

/// The integers that lie in memory.
fn narrow(e: Element) -> Narrow {
    match e {
        Element::I8 => Narrow { two: false, signed: true },
        Element::I16 => Narrow { two: true, signed: true },
        Element::U16 | Element::F16 | Element::BF16 => HALF,
        Element::U8 | Element::Bool | Element::B32 | Element::B64 => BYTE,
    }
}

/// What becomes of the integers that were loaded.
fn loaded<S: Simd + ?Sized>(s: &mut S, e: Element, v: &V) -> R {
    match e {
        Element::F16 => short::from_f16(s, v),
        Element::BF16 => s.op1(Op1::Shl(16), v),
        Element::Bool => s.op1_as(Lane::I32, Op1::Neg, v),
        _ => Ok(()),
    }
}

pub(super) fn load<S: Simd + ?Sized>(s: &mut S, e: Element, p: &P, disp: i32, n: usize) -> R<V> {
    match e {
        Element::F16 if s.has_halves() => s.load_halves(p, disp, n),
        Element::B32 => s.load(p, disp, n),
        Element::B64 => s.load(p, disp, 2 * n),
        _ => {
            let v = s.load_narrow(narrow(e), p, disp, n)?;
            loaded(s, e, &v)?;
            Ok(v)
        }
    }
}

pub(super) fn load_finite<S: Simd + ?Sized>(s: &mut S, e: Element, p: &P, disp: i32, n: usize) -> R<V> {
    if e != Element::F16 || s.has_halves() {
        return load(s, e, p, disp, n);
    }
    let v = s.load_narrow(narrow(Element::I16), p, disp, n)?;
    short::from_finite_f16(s, &v)?;
    Ok(v)
}

pub(super) fn load_strided<S: Simd + ?Sized>(
    s: &mut S,
    e: Element,
    p: &P,
    disp: i32,
    stride: i64,
    n: usize,
) -> R<V> {
    if let (Element::B32, Ok(stride)) = (e, i32::try_from(stride)) {
        return s.load_strided(p, disp, stride, n);
    }
    let signed = matches!(e, Element::I8 | Element::I16);
    let v = s.load_apart(Apart { bytes: e.bytes(), signed, stride }, p, disp, n)?;
    loaded(s, e, &v)?;
    Ok(v)
}

pub(super) fn load_splat<S: Simd + ?Sized>(s: &mut S, e: Element, p: &P, disp: i32) -> R<V> {
    match e {
        Element::F16 if s.has_halves() => s.load_splat_half(p, disp),
        Element::B32 => s.load_splat(p, disp),
        Element::B64 => s.load_splat_wide(p, disp),
        _ => {
            let v = s.load_splat_narrow(narrow(e), p, disp)?;
            loaded(s, e, &v)?;
            Ok(v)
        }
    }
}

pub(super) fn store<S: Simd + ?Sized>(s: &mut S, e: Element, p: &P, disp: i32, v: &V, n: usize) -> R {
    match e {
        Element::B32 => return s.store(p, disp, v, n),
        Element::B64 => return s.store(p, disp, v, 2 * n),
        Element::F16 if s.has_halves() => return s.store_halves(p, disp, v, n),
        Element::F16 => short::to_f16(s, v)?,
        Element::BF16 => short::to_bf16(s, v)?,
        Element::Bool => s.op2(Op2::And, v, Src::Bits(1))?,
        Element::U8 | Element::I8 | Element::U16 | Element::I16 => {}
    }
    s.store_narrow(narrow(e), Overflow::Wrap, p, disp, v, n)
}
