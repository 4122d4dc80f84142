//! What every builder can do with its own methods.

use super::{Element, Lane, P, R, Simd, V, convert, elements};

/// Elements of any type in memory, and conversions between all types of lanes.
pub trait SimdExt: Simd {
    /// The first `n` elements from memory, one a lane; the others are 0, for bools false. Touches no byte beyond them.
    fn load_as(&mut self, e: Element, p: &P, disp: i32, n: usize) -> R<V> {
        elements::load(self, e, p, disp, n)
    }
    /// The same where no element is an infinity or NaN: weights, of which that is known.
    fn load_finite(&mut self, e: Element, p: &P, disp: i32, n: usize) -> R<V> {
        elements::load_finite(self, e, p, disp, n)
    }
    /// The same of elements that lie `stride` bytes apart.
    fn load_strided_as(&mut self, e: Element, p: &P, disp: i32, stride: i64, n: usize) -> R<V> {
        elements::load_strided(self, e, p, disp, stride, n)
    }
    /// One element from memory in every lane.
    fn load_splat_as(&mut self, e: Element, p: &P, disp: i32) -> R<V> {
        elements::load_splat(self, e, p, disp)
    }
    /// Writes the first `n` lanes as elements; of integers the low bits. `v` may be overwritten: the
    /// caller frees it. Touches no byte beyond them.
    fn store_as(&mut self, e: Element, p: &P, disp: i32, v: &V, n: usize) -> R {
        elements::store(self, e, p, disp, v, n)
    }
    /// Numbers of one type become numbers of another: see [`convert::convert`].
    fn convert(&mut self, from: Lane, to: Lane, d: &V) -> R {
        convert::convert(self, from, to, d)
    }
}

impl<S: Simd + ?Sized> SimdExt for S {}
