//! Who writes and who reads each buffer of a program.

use std::collections::HashMap;

use super::{Access, BufferId, Form, Index, Program};

/// Writers and readers by kernel position, ascending, each kernel once.
pub struct Uses {
    writers: HashMap<BufferId, Vec<usize>>,
    readers: HashMap<BufferId, Vec<usize>>,
}

impl Uses {
    /// Reads them off a program.
    pub fn of(program: &Program) -> Self {
        let (mut writers, mut readers) = (HashMap::<_, Vec<usize>>::new(), HashMap::<_, Vec<usize>>::new());
        let push = |map: &mut HashMap<BufferId, Vec<usize>>, b: BufferId, i: usize| {
            let list = map.entry(b).or_default();
            if list.last() != Some(&i) {
                list.push(i);
            }
        };
        for (i, kernel) in program.kernels.iter().enumerate() {
            for store in kernel.form.stores() {
                push(&mut writers, store.buffer, i);
            }
            for load in kernel.form.loads() {
                each_buffer(load, &mut |b| push(&mut readers, b, i));
            }
            if let Form::Extern { inputs, outputs, .. } = &kernel.form {
                inputs.iter().for_each(|b| push(&mut readers, *b, i));
                outputs.iter().for_each(|b| push(&mut writers, *b, i));
            }
        }
        Self { writers, readers }
    }

    /// Kernels that write a buffer.
    pub fn writers(&self, buffer: BufferId) -> &[usize] {
        self.writers.get(&buffer).map_or(&[], Vec::as_slice)
    }

    /// Kernels that read a buffer.
    pub fn readers(&self, buffer: BufferId) -> &[usize] {
        self.readers.get(&buffer).map_or(&[], Vec::as_slice)
    }

    /// The writer, when there is exactly one.
    pub fn only_writer(&self, buffer: BufferId) -> Option<usize> {
        if let [w] = self.writers(buffer) { Some(*w) } else { None }
    }

    /// The reader, when there is exactly one.
    pub fn only_reader(&self, buffer: BufferId) -> Option<usize> {
        if let [r] = self.readers(buffer) { Some(*r) } else { None }
    }
}

/// Calls `f` with the buffer of an access and of every index that it gathers.
pub fn each_buffer(access: &Access, f: &mut impl FnMut(BufferId)) {
    f(access.buffer);
    for index in &access.index {
        if let Index::Gathered(inner) = index {
            each_buffer(inner, f);
        }
    }
}
