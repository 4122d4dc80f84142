//! Memory on cache lines: read-only data, arenas and ports of models that run in this process.

use std::ffi::c_void;

use bytemuck::{Pod, Zeroable};
use kiln_ir::{Error, Result};
use memmap2::MmapMut;

/// From here on memory comes from the system in pages, which it is asked to make large. A core that reads weights from
/// memory gets 19 GB/s from pages of 4 KiB and 30 GB/s from those of 2 MiB (Zen 4, virtual machine, November 2026): a
/// page walk of a guest goes through two tables.
const MAPPED_BYTES: usize = 4 << 20;

/// A cache line.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Zeroed memory of at least so many bytes, aligned to 64.
pub(crate) struct Lines(Memory);

enum Memory {
    Few(Vec<Line>),
    Many(MmapMut),
}

impl Lines {
    pub(crate) fn new(bytes: usize) -> Result<Self> {
        let lines = bytes.div_ceil(64);
        let failed = || Error::environment(format!("there is no memory for {bytes} bytes"));
        if bytes < MAPPED_BYTES {
            let memory = bytemuck::allocation::try_zeroed_vec(lines).map_err(|()| failed())?;
            return Ok(Self(Memory::Few(memory)));
        }
        let memory = MmapMut::map_anon(lines * 64).map_err(|_| failed())?;
        // Only a wish: a kernel without large pages runs as well, and as right.
        #[cfg(target_os = "linux")]
        drop(memory.advise(memmap2::Advice::HugePage));
        Ok(Self(Memory::Many(memory)))
    }

    /// The bytes, zero at first, whole lines.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.0 {
            Memory::Few(lines) => bytemuck::cast_slice(lines),
            Memory::Many(map) => map,
        }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Memory::Few(lines) => bytemuck::cast_slice_mut(lines),
            Memory::Many(map) => map,
        }
    }

    pub(crate) fn pointer(&mut self) -> *mut c_void {
        self.bytes_mut().as_mut_ptr().cast()
    }
}

impl Default for Lines {
    fn default() -> Self {
        Self(Memory::Few(Vec::new()))
    }
}

impl AsRef<[u8]> for Lines {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zero_on_lines_and_large_enough() {
        for bytes in [0, 1, 64, 65, MAPPED_BYTES - 1, MAPPED_BYTES, MAPPED_BYTES + 1] {
            let mut lines = Lines::new(bytes).unwrap();
            assert_eq!(lines.bytes().len(), bytes.next_multiple_of(64));
            assert_eq!(lines.pointer().align_offset(64), 0, "{bytes}");
            assert!(lines.bytes().iter().all(|b| *b == 0));
            lines.bytes_mut().fill(7);
        }
    }

    #[test]
    fn too_much_is_an_error() {
        let e = Lines::new(usize::MAX / 64 * 32).err().unwrap();
        assert!(e.to_string().contains("no memory for"), "{e}");
    }
}
