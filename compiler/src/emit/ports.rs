//! Arguments and results of a model: how they are told, and how large they are.

use kiln_ir::dim::Symbols;
use kiln_ir::kernel::plan::Port;
use kiln_ir::tensor::Element;
use kiln_ir::{Bounds, Dim, Error, Result};

/// An argument or a result of a model: by its name in the model, or by its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortKey<'a> {
    /// The name in the model.
    Name(&'a str),
    /// The position, from 0.
    Position(usize),
}

impl<'a> From<&'a str> for PortKey<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

impl From<usize> for PortKey<'_> {
    fn from(position: usize) -> Self {
        Self::Position(position)
    }
}

impl PortKey<'_> {
    pub(super) fn find(self, ports: &[Port], what: &str) -> Result<usize> {
        let found = match self {
            Self::Name(name) => ports.iter().position(|p| p.name == name).ok_or_else(|| format!("'{name}'")),
            Self::Position(i) if i < ports.len() => Ok(i),
            Self::Position(i) => Err(format!("number {i}")),
        };
        found.map_err(|wanted| {
            let names: Vec<String> = ports.iter().map(|p| format!("'{}'", p.name)).collect();
            Error::invalid(format!("the model has no {what} {wanted}"))
                .hint(format!("its {what}s: {}", names.join(", ")))
        })
    }
}

/// The largest size of a port's elements.
pub(super) fn port_bytes(port: &Port, bounds: &Bounds) -> Result<usize> {
    let most = port.ty.shape.elements().most(bounds).and_then(|n| usize::try_from(n).ok());
    let most = most.ok_or_else(|| Error::internal(format!("'{}' has a shape without bounds", port.name)))?;
    Ok(port.ty.dtype.bytes_of(most))
}

/// The shape of a port for values of the open dimensions.
pub(super) fn shape_at(port: &Port, symbols: &Symbols) -> Result<Vec<usize>> {
    let extent = |d: &Dim| d.eval(symbols).and_then(|n| usize::try_from(n).ok());
    let shape = port.ty.shape.iter().map(extent).collect::<Option<_>>();
    shape.ok_or_else(|| Error::internal(format!("'{}' has a shape without values", port.name)))
}

/// Refuses elements of another type than the port's.
pub(super) fn of_type<T: Element>(port: &Port, what: &str) -> Result<()> {
    if port.ty.dtype == T::DTYPE {
        return Ok(());
    }
    Err(Error::invalid(format!("{what} '{}' is {}, not {}", port.name, port.ty.dtype, T::DTYPE)))
}
