//! Straight code between labels and branches, which cores that start instructions in the order of the text get in another order.

use super::Encoder;
use super::order::put_in_order;
use super::parts::Straight;

/// Registers that no caller wants back.
const VOLATILE: u32 = !(0xff << 8);

impl Encoder {
    /// Straight code begins here.
    pub(super) fn open_block(&mut self) {
        self.block = Straight { start: self.code.len(), free: self.vectors };
    }

    /// Straight code ends here: puts it in order where the core does not do so itself.
    pub(super) fn close_block(&mut self) {
        let range = self.block.start..self.code.len();
        if self.in_order && range.len() > 2 {
            let held = self.throughout.iter().fold(0, |all, (_, register)| all | 1 << register);
            let pool = self.block.free & self.vectors & !held & (VOLATILE | self.used);
            if let Some(ordered) = put_in_order(&mut self.code[range.clone()], pool) {
                self.used |= ordered.used;
                let places = self.pool.iter_mut().flat_map(|(_, places)| places);
                for at in places.filter(|at| range.contains(at)) {
                    *at = range.start + ordered.place[*at - range.start];
                }
            }
        }
        self.open_block();
    }
}
