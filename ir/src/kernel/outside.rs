//! Read-only data that lies outside of the program: a file that its caller has in memory.

/// The words that the file begins with, by which a call knows it: what it is, how many bytes follow, and their digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outside {
    /// As they lie in the file, the low byte first.
    pub words: [u64; Self::WORDS],
}

impl Outside {
    /// Words that are compared.
    pub const WORDS: usize = 6;
    /// Bytes before the data: what follows is as aligned as the file.
    pub const BYTES: usize = 64;

    /// For so many bytes of data with a digest in hexadecimal.
    pub fn new(bytes: usize, digest: &str) -> Self {
        let mut text = [0; 8 * (Self::WORDS - 2)];
        text.iter_mut().zip(digest.bytes()).for_each(|(to, from)| *to = from);
        let mut words = [0; Self::WORDS];
        (words[0], words[1]) = (u64::from_le_bytes(*b"KILNDATA"), bytes as u64);
        for (word, part) in words[2..].iter_mut().zip(text.chunks_exact(8)) {
            *word = part.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
        Self { words }
    }

    /// What stands before the data.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let all = self.words.iter().flat_map(|word| word.to_le_bytes());
        bytes.iter_mut().zip(all).for_each(|(to, from)| *to = from);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_begin_with_what_they_are() {
        let bytes = Outside::new(0x0102, "0123456789abcdef0123456789ABCDEFmore").to_bytes();
        assert_eq!(&bytes[..8], b"KILNDATA");
        assert_eq!(bytes[8..16], [2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&bytes[16..48], b"0123456789abcdef0123456789ABCDEF");
        assert_eq!(bytes[48..], [0; 16]);
    }
}
