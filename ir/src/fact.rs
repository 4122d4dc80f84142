//! What is known of values at compile time.

use std::fmt;

use crate::bail_invalid;
use crate::dim::{Bounds, Dim};
use crate::error::Result;
use crate::tensor::Tensor;
use crate::types::{DType, Shape, TensorType};

/// What is known of a value before anything runs.
#[derive(Clone, PartialEq)]
pub struct Fact {
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub shape: Shape,
    /// The elements, when they are known.
    pub known: Option<Known>,
}

/// Elements known at compile time.
#[derive(Clone, Debug, PartialEq)]
pub enum Known {
    /// All of them.
    Tensor(Tensor),
    /// Integers of a tensor of rank 0 or 1 that follow from symbolic extents: shape arithmetic.
    Dims(Vec<Dim>),
}

impl Fact {
    /// A fact without known elements.
    pub fn new(dtype: DType, shape: Shape) -> Self {
        Self { dtype, shape, known: None }
    }

    /// The fact of a constant.
    pub fn of(tensor: &Tensor) -> Self {
        Self {
            dtype: tensor.dtype,
            shape: Shape::of(&tensor.shape),
            known: Some(Known::Tensor(tensor.clone())),
        }
    }

    /// Shape arithmetic: an i64 vector of the given extents.
    pub fn of_dims(dims: Vec<Dim>) -> Self {
        Self { dtype: DType::I64, shape: Shape::of(&[dims.len()]), known: Some(Known::Dims(dims)) }
    }

    /// Element type and shape alone.
    pub fn ty(&self) -> TensorType {
        TensorType::new(self.dtype, self.shape.clone())
    }

    /// The elements, when all are constants.
    pub fn tensor(&self) -> Option<&Tensor> {
        match &self.known {
            Some(Known::Tensor(tensor)) => Some(tensor),
            _ => None,
        }
    }

    /// The integer elements as extents, constant or symbolic, when they are known.
    pub fn dims(&self) -> Option<Vec<Dim>> {
        match &self.known {
            Some(Known::Dims(dims)) => Some(dims.clone()),
            Some(Known::Tensor(t)) if t.dtype.is_int() => {
                Some(t.to_i64s().ok()?.into_iter().map(Dim::Const).collect())
            }
            _ => None,
        }
    }

    /// The same where symbols stay within bounds, those of sizes that are counted included.
    pub fn within(mut self, bounds: &Bounds, counted: &Bounds) -> Self {
        let known = match &mut self.known {
            Some(Known::Dims(dims)) => &mut dims[..],
            _ => &mut [],
        };
        let mut ends: Vec<&mut Dim> = self.shape.0.iter_mut().chain(known).filter(|d| d.has_ends()).collect();
        if !ends.is_empty() {
            let all = bounds.iter().chain(counted).map(|(name, bound)| (name.clone(), *bound)).collect();
            ends.iter_mut().for_each(|d| **d = d.within(&all));
        }
        self
    }

    /// Whether the value `name` is what a model declares it to be; extents are compared where both are constants.
    ///
    /// # Errors
    ///
    /// Invalid, where types, ranks or constant extents differ.
    pub fn check_declared(&self, name: &str, declared: &Fact) -> Result<()> {
        let conflict = |(a, b): (&Dim, &Dim)| matches!((a, b), (Dim::Const(a), Dim::Const(b)) if a != b);
        if self.dtype != declared.dtype
            || self.shape.rank() != declared.shape.rank()
            || self.shape.iter().zip(declared.shape.iter()).any(conflict)
        {
            bail_invalid!("value '{name}' is declared as {} and is {}", declared.ty(), self.ty());
        }
        Ok(())
    }
}

impl fmt::Debug for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, self.shape)?;
        if let Some(Known::Dims(dims)) = &self.known {
            write!(f, " = {dims:?}")?;
        }
        Ok(())
    }
}
