//! What `NAME_run` returns.

/// Status of a run. The numbers are part of the ABI and stand in every generated header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Status {
    /// The outputs are written.
    Ok = 0,
    /// The arena, a list or one of its pointers is null.
    NullPointer = 1,
    /// The arena is not aligned to `NAME_ARENA_ALIGN`.
    MisalignedArena = 2,
    /// The processor lacks an instruction that the model was compiled for.
    UnsupportedCpu = 3,
    /// An open dimension is outside its bounds, or does not agree with another.
    DimensionOutOfBounds = 4,
    /// An index that the model read at run time is outside its axis.
    IndexOutOfRange = 5,
    /// The read-only data that the call was given is not aligned to `NAME_WEIGHTS_ALIGN`.
    MisalignedWeights = 6,
    /// It is not that of this code.
    OtherWeights = 7,
}

impl Status {
    /// Every status.
    pub const ALL: [Status; 8] = [
        Self::Ok,
        Self::NullPointer,
        Self::MisalignedArena,
        Self::UnsupportedCpu,
        Self::DimensionOutOfBounds,
        Self::IndexOutOfRange,
        Self::MisalignedWeights,
        Self::OtherWeights,
    ];

    /// The status of a number.
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|s| *s as i32 == code)
    }

    /// The suffix of the macro in a header: `NULL_POINTER`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::NullPointer => "NULL_POINTER",
            Self::MisalignedArena => "MISALIGNED_ARENA",
            Self::UnsupportedCpu => "UNSUPPORTED_CPU",
            Self::DimensionOutOfBounds => "DIMENSION_OUT_OF_BOUNDS",
            Self::IndexOutOfRange => "INDEX_OUT_OF_RANGE",
            Self::MisalignedWeights => "MISALIGNED_WEIGHTS",
            Self::OtherWeights => "OTHER_WEIGHTS",
        }
    }

    /// What it means, as a sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "the outputs are written",
            Self::NullPointer => "the arena, a list or one of its pointers is null",
            Self::MisalignedArena => "the arena is not aligned",
            Self::UnsupportedCpu => "the processor lacks an instruction that the model was compiled for",
            Self::DimensionOutOfBounds => {
                "an open dimension is outside its bounds, or does not agree with another"
            }
            Self::IndexOutOfRange => "an index read at run time is outside its axis",
            Self::MisalignedWeights => "the weights that the call was given are not aligned",
            Self::OtherWeights => "the weights that the call was given are not those of this code",
        }
    }
}
