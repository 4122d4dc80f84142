//! Who writes and who reads each buffer of a program.

use std::collections::BTreeSet;

use super::access::BufferId;
use super::form::Kernel;
use super::program::Program;

/// Writers and readers by kernel position, ascending. A change of one kernel takes time for what it touches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    writers: Vec<BTreeSet<usize>>,
    readers: Vec<BTreeSet<usize>>,
}

impl Uses {
    /// Reads them off a program.
    pub fn of(program: &Program) -> Self {
        Self::by(program, &|b| b)
    }

    /// Those of storage: whoever reads or writes a view does so with the buffer that owns it.
    pub fn of_roots(program: &Program) -> Self {
        Self::by(program, &|b| program.root(b))
    }

    fn by(program: &Program, key: &dyn Fn(BufferId) -> BufferId) -> Self {
        let none = vec![BTreeSet::new(); program.buffers().len()];
        let mut uses = Self { writers: none.clone(), readers: none };
        for (i, kernel) in program.kernels().iter().enumerate() {
            uses.add_by(i, kernel, key);
        }
        uses
    }

    /// A kernel now stands at position `i`.
    pub fn add(&mut self, i: usize, kernel: &Kernel) {
        self.add_by(i, kernel, &|b| b);
    }

    fn add_by(&mut self, i: usize, kernel: &Kernel, key: &dyn Fn(BufferId) -> BufferId) {
        kernel.form.each_buffer(&mut |buffer, write| {
            let list = if write { &mut self.writers } else { &mut self.readers };
            let at = key(buffer).0 as usize;
            if at >= list.len() {
                list.resize_with(at + 1, BTreeSet::new);
            }
            list[at].insert(i);
        });
    }

    /// The kernel at position `i` is no longer there.
    pub fn remove(&mut self, i: usize, kernel: &Kernel) {
        kernel.form.each_buffer(&mut |buffer, write| {
            let list = if write { &mut self.writers } else { &mut self.readers };
            if let Some(positions) = list.get_mut(buffer.0 as usize) {
                positions.remove(&i);
            }
        });
    }

    /// Kernels that write a buffer.
    pub fn writers(&self, buffer: BufferId) -> &BTreeSet<usize> {
        self.writers.get(buffer.0 as usize).unwrap_or(&NONE)
    }

    /// Kernels that read a buffer, as elements or as indices.
    pub fn readers(&self, buffer: BufferId) -> &BTreeSet<usize> {
        self.readers.get(buffer.0 as usize).unwrap_or(&NONE)
    }

    /// The writer, when there is exactly one.
    pub fn only_writer(&self, buffer: BufferId) -> Option<usize> {
        only(self.writers(buffer))
    }

    /// The reader, when there is exactly one.
    pub fn only_reader(&self, buffer: BufferId) -> Option<usize> {
        only(self.readers(buffer))
    }
}

static NONE: BTreeSet<usize> = BTreeSet::new();

fn only(positions: &BTreeSet<usize>) -> Option<usize> {
    positions.first().copied().filter(|_| positions.len() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::parse;

    #[test]
    fn indices_of_a_store_are_read_and_changes_are_followed() {
        let text = r#"program @m {
  input %x: f32[4]
  temp %i: i64[4]
  temp %t: f32[4]
  output %y: f32[4]
  map "i" [k: 4] {
    %i[k] = k
  }
  rearrange "scatter" [k: 4] {
    %t[(%i[k])] = %x[k]
  }
  map "y" [k: 4] {
    %y[k] = %t[k] + %x[k]
  }
}
"#;
        let program = parse(text).unwrap();
        let id = |name: &str| program.buffer_ids().find(|b| program.buffer(*b).name == name).unwrap();
        let mut uses = Uses::of(&program);
        assert_eq!((uses.only_writer(id("i")), uses.only_reader(id("i"))), (Some(0), Some(1)));
        assert_eq!(uses.readers(id("x")).iter().copied().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(uses.only_reader(id("x")), None);
        uses.remove(1, program.kernel(1));
        assert_eq!((uses.only_reader(id("x")), uses.only_writer(id("t"))), (Some(2), None));
        uses.add(1, program.kernel(1));
        assert_eq!(uses, Uses::of(&program));
    }
}
