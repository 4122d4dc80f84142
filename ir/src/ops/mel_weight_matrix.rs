//! `MelWeightMatrix`: weights that turn a spectrum into mel bands.
//!
//! Spec: ONNX MelWeightMatrix, version 17, as its reference computes it: `bands + 2` places evenly spaced on the mel scale
//! `2595 log10(1 + hertz / 700)`, each band a triangle over three of them.
//!
//! Unsupported: operands computed at run time.

use super::composed::{Composed, Composer, Value, composed, required};
use super::elements::Elements;
use super::values::from_f64s;
use crate::error::Result;
use crate::op::{Attr, Attrs, NodeProto, Op, OpDef};
use crate::types::DType;
use crate::{bail_invalid, bail_unsupported};

/// Bands and samples at most.
const MOST: f64 = 65536.0;

/// `MelWeightMatrix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MelWeightMatrix {
    /// The type of the result.
    pub dtype: DType,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(5..=5, 1..=1)?;
    let number = node.int("output_datatype")?.unwrap_or(1);
    match i32::try_from(number).ok().and_then(|n| DType::from_onnx(n).ok()) {
        Some(dtype) if dtype.is_float() || dtype.is_int() => Ok(Box::new(MelWeightMatrix { dtype })),
        _ => bail_invalid!("attribute 'output_datatype' must name a type of numbers, found {number}"),
    }
}

/// `MelWeightMatrix`.
pub const DEF: OpDef = OpDef {
    name: "MelWeightMatrix",
    domain: "",
    since: (17, 17),
    parse,
    unsupported: "operands computed at run time",
};

impl Op for MelWeightMatrix {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([("output_datatype".to_owned(), Attr::Int(self.dtype.to_onnx().into()))])
    }

    composed!();
}

impl Composed for MelWeightMatrix {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let number = |i: usize, what: &str| -> Result<f64> {
            let fact = cx.fact(required(inputs, i)?);
            match fact.tensor() {
                Some(t) if t.elements() == 1 => Ok(Elements::new(t)?.number(0).float()),
                Some(t) => bail_invalid!("{what} must be a single number, found shape {:?}", t.shape),
                None => bail_unsupported!("{what} that is computed at run time is not supported"),
            }
        };
        let bands = number(0, "the number of bands")?;
        let length = number(1, "the length of the transform")?;
        let rate = number(2, "the sample rate")?;
        let (low, high) = (number(3, "the lower edge")?, number(4, "the upper edge")?);
        if !(0.0..=MOST).contains(&bands) || !(0.0..=MOST).contains(&length) || rate <= 0.0 || rate.is_nan() {
            bail_invalid!(
                "{bands} bands of {length} samples at {rate} hertz: numbers must be from 0 to {MOST}"
            );
        }
        let (bands, bins) = (bands as usize, length as usize / 2 + 1);
        let mel = |hertz: f64| 2595.0 * (1.0 + hertz / 700.0).log10();
        let step = (mel(high) - mel(low)) / (bands + 2) as f64;
        let place = |i: usize| {
            let hertz = 700.0 * (10f64.powf((i as f64 * step + mel(low)) / 2595.0) - 1.0);
            ((length + 1.0) * hertz / rate).floor()
        };
        let places: Vec<f64> = (0..bands + 2).map(place).collect();
        if let Some(outside) = places.iter().find(|p| !(0.0..bins as f64).contains(*p)) {
            bail_invalid!("the edges {low} and {high} need sample {outside} of {bins}");
        }
        let mut weights = vec![0.0; bins * bands];
        for (band, triangle) in places.windows(3).enumerate() {
            let [left, centre, right] = [0, 1, 2].map(|i| triangle[i] as usize);
            let mut set = |bin: usize, weight: f64| weights[bin * bands + band] = weight;
            if left == centre {
                set(centre, 1.0);
            }
            for bin in left..=centre {
                if centre > left {
                    set(bin, (bin - left) as f64 / (centre - left) as f64);
                }
            }
            for bin in centre..right {
                set(bin, (right - bin) as f64 / (right - centre) as f64);
            }
        }
        let tensor = from_f64s(self.dtype, &[bins, bands], weights)?;
        Ok(vec![cx.constant(tensor)])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{parse, run};
    use crate::tensor::Tensor;

    #[test]
    fn the_example_of_the_specification() {
        let op = parse("MelWeightMatrix", 17, &[], 5, 1).unwrap();
        let numbers = [8i64, 16, 8192].map(Tensor::scalar);
        let edges = [0f32, 4096.0].map(Tensor::scalar);
        let inputs: Vec<&Tensor> = numbers.iter().chain(&edges).collect();
        let y = run(&*op, &inputs, &[0, 1, 2, 3, 4]).unwrap();
        assert_eq!(y[0].shape, [9, 8]);
        let rows = y[0].to_f64s().unwrap();
        assert_eq!(rows[..8], [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(rows[8..16], [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
