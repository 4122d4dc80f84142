//! Read-only data as it grows: equal bytes are held once, whichever tensor, and whichever variant's plan, they
//! belong to.

use std::collections::HashMap;

use kiln_ir::format::packed::Panels;
use kiln_ir::kernel::BufferId;
use kiln_ir::kernel::plan::Weight;
use kiln_ir::{Result, Tensor};

/// Read-only data of one artefact.
#[derive(Debug)]
pub struct ReadOnly {
    align: usize,
    bytes: usize,
    /// What is there already, by size and some of the bytes: equal ones are looked for among few.
    known: HashMap<(usize, Sample), Vec<(usize, Tensor)>>,
    /// Constants of the program in panels: the plans of all variants come from one program.
    packed: HashMap<(BufferId, Panels), Weight>,
}

/// Bytes from a few places of a tensor.
type Sample = [u8; 32];

fn sample(data: &[u8]) -> Sample {
    let mut sample = [0; 32];
    let last = data.len().saturating_sub(8);
    for (out, at) in sample.chunks_exact_mut(8).zip([0, last / 3, last / 2, last]) {
        let from = &data[at..data.len().min(at + 8)];
        out[..from.len()].copy_from_slice(from);
    }
    sample
}

impl ReadOnly {
    /// Nothing yet; every tensor will be aligned to so many bytes.
    pub fn new(align: usize) -> Self {
        Self { align, bytes: 0, known: HashMap::new(), packed: HashMap::new() }
    }

    /// Gives a tensor its place. Where its bytes are known, the weight shares them.
    pub fn place(&mut self, name: &str, tensor: Tensor) -> Weight {
        let same = self.known.entry((tensor.data.len(), sample(&tensor.data))).or_default();
        if let Some((offset_bytes, known)) = same.iter().find(|(_, known)| known.data == tensor.data) {
            let tensor = Tensor { data: known.data.clone(), ..tensor };
            return Weight { name: name.to_owned(), offset_bytes: *offset_bytes, tensor };
        }
        let offset_bytes = self.bytes.next_multiple_of(self.align);
        // An empty tensor takes a byte, so that a place names one tensor.
        self.bytes = offset_bytes + tensor.data.len().max(1);
        same.push((offset_bytes, tensor.clone()));
        Weight { name: name.to_owned(), offset_bytes, tensor }
    }

    /// A constant in panels; `encode` gives its name and elements if no variant has needed it yet.
    pub fn packed(
        &mut self,
        id: BufferId,
        panels: Panels,
        encode: impl FnOnce(&Panels) -> Result<(String, Tensor)>,
    ) -> Result<Weight> {
        let key = (id, panels);
        if let Some(weight) = self.packed.get(&key) {
            return Ok(weight.clone());
        }
        let (name, tensor) = encode(&key.1)?;
        let weight = self.place(&name, tensor);
        self.packed.insert(key, weight.clone());
        Ok(weight)
    }

    /// Size of all so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_are_held_once() {
        let mut data = ReadOnly::new(64);
        let tensor = |first: f32| {
            let mut elements = vec![1f32; 100];
            elements[40] = first;
            Tensor::from_vec(&[100], elements)
        };
        let a = data.place("a", tensor(1.0));
        let b = data.place("b", tensor(2.0));
        let c = data.place("c", Tensor { shape: vec![10, 10], ..tensor(1.0) });
        assert_eq!([a.offset_bytes, b.offset_bytes, c.offset_bytes], [0, 448, 0]);
        assert_eq!((data.bytes(), &*c.tensor.shape, &*c.name), (848, &[10, 10][..], "c"));
        assert_eq!(c.tensor.data.as_ptr(), a.tensor.data.as_ptr());
        for n in [0usize, 1, 2, 9] {
            let tensor = || Tensor::from_vec(&[n], vec![7u8; n]);
            let place = data.place("x", tensor()).offset_bytes;
            assert_eq!(data.place("y", tensor()).offset_bytes, place, "{n} bytes");
        }
    }
}
