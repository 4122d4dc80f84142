//! Tables of 256 entries that are indexed by a byte: the byte itself is the index.
//!
//! ```text
//!   map "i" { %i[a] = i32(%x[a]) }
//!   rearrange "t" { %y[a] = @table[(%i[a])] }          rearrange "t" { %y[a] = @table[(%x[a])] }
//! ```
//!
//! A negative index counts from the end, so a signed byte leads where its bits as an unsigned one do.

use kiln_ir::DType;
use kiln_ir::kernel::{Access, BufferKind, Expr, Form, Index, Program, Uses};

use crate::passes::absorb::at_element;
use crate::passes::substitute::substitute_access;

/// Lets tables be indexed by bytes. The kernels that made integers of these are left to fusion.
pub(super) fn run(program: &mut Program) {
    let uses = Uses::of(program);
    for i in 0..program.kernels().len() {
        let Form::Rearrange { from, .. } = &program.kernel(i).form else { continue };
        let [Index::Gathered(index)] = &from.index[..] else { continue };
        let shape = &program.buffer(from.buffer).ty.shape;
        if !shape[0].is(256) || index.otherwise.is_some() {
            continue;
        }
        let Some(byte) = byte(program, &uses, index) else { continue };
        if let Form::Rearrange { from, .. } = &mut program.kernel_mut(i).form {
            from.index = vec![Index::Gathered(Box::new(byte))];
        }
    }
}

/// The byte that an index was made of.
fn byte(program: &Program, uses: &Uses, index: &Access) -> Option<Access> {
    let writer = program.kernel(uses.only_writer(index.buffer)?);
    let Form::Map { stores } = &writer.form else { return None };
    let [store] = &stores[..] else { return None };
    let Expr::Cast(DType::I32 | DType::I64, value) = &store.value else { return None };
    let Expr::Load(byte) = &**value else { return None };
    let bytes = matches!(program.buffer(byte.buffer).ty.dtype, DType::U8 | DType::I8);
    let plain = byte.otherwise.is_none() && byte.index.iter().all(|i| i.affine().is_some());
    if !bytes || !plain || program.buffer(index.buffer).kind != BufferKind::Temp {
        return None;
    }
    let at = at_element(writer, &store.to.as_loops()?, &index.index)?;
    Some(substitute_access(byte, &at))
}

#[cfg(test)]
mod tests {
    use kiln_ir::{Tensor, eval, kernel};

    use super::*;

    #[test]
    fn the_byte_is_the_index() {
        for dtype in ["u8", "i8"] {
            let text = format!(
                "program @m {{
                   input %x: {dtype}[2, 3]
                   const @t: u8[256] = [{}]
                   temp %i: i32[2, 3]
                   output %y: u8[3, 2]
                   map \"i\" [a: 2, b: 3] {{ %i[a, b] = i32(%x[a, b]) }}
                   rearrange \"t\" [a: 3, b: 2] {{ %y[a, b] = @t[(%i[b, a])] }}
                 }}",
                (0..256).map(|i| (i * 7 % 256).to_string()).collect::<Vec<_>>().join(", ")
            );
            let mut program = kernel::parse(&text).unwrap();
            let x = Tensor::from_vec::<u8>(&[2, 3], vec![0, 1, 127, 128, 200, 255]);
            let x = [Tensor { dtype: DType::parse(dtype).unwrap(), ..x }];
            let expected = eval::kernel::run(&program, &x).unwrap();
            run(&mut program);
            kernel::verify(&program).unwrap();
            assert_eq!(eval::kernel::run(&program, &x).unwrap(), expected);
            assert!(program.to_string().contains("@t[(%x[b, a])]"), "{program}");
        }
    }
}
