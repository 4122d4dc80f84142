//! Tensor data in files beside the model.
//!
//! The location comes from the model and may name nothing but a regular file below the model's folder: no
//! absolute path, no `..`, no symbolic link on the way, and no second hard link, so that a model cannot make
//! Kiln read a file that its author could not.
//!
//! One kind of link is followed. Caches keep a model's files side by side under their hashes, and a folder of links
//! with the names that the model knows. There the data may be a link to a file that lies beside the one that the
//! model itself is read from: whoever put the model there put that file there as well.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use kiln_ir::{Error, Result, bail_invalid};
use onnx_protobuf::{GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto};

use super::mapped;

/// Where a model is.
#[derive(Clone, Debug)]
pub(super) struct Home {
    /// The folder of the path by which it is named: locations start here.
    folder: PathBuf,
    /// The folder of the file itself, free of links; `None` where that cannot be known.
    behind_links: Option<PathBuf>,
}

impl Home {
    /// Of the model in the file `path`.
    pub(super) fn of_file(path: &Path) -> Self {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let file = path.canonicalize().ok();
        Self { folder: folder.into(), behind_links: file.and_then(|f| f.parent().map(Path::to_owned)) }
    }

    /// Of a model in memory whose data is below `folder`.
    pub(super) fn of_folder(folder: &Path) -> Self {
        Self { folder: folder.into(), behind_links: folder.canonicalize().ok() }
    }
}

/// Shows the location of every tensor of a model whose data is in a file.
pub(super) fn locations(model: &ModelProto, see: &mut dyn FnMut(&str)) {
    let mut graphs: Vec<&GraphProto> = model.graph.iter().collect();
    let mut nodes: Vec<&NodeProto> = model.functions.iter().flat_map(|f| &f.node).collect();
    let mut tensor = |tensor: &TensorProto| {
        tensor.external_data.iter().filter(|e| e.key == "location").for_each(|e| see(&e.value));
    };
    loop {
        if let Some(graph) = graphs.pop() {
            graph.initializer.iter().for_each(&mut tensor);
            nodes.extend(&graph.node);
        } else if let Some(node) = nodes.pop() {
            for attribute in &node.attribute {
                attribute.t.iter().chain(&attribute.tensors).for_each(&mut tensor);
                graphs.extend(attribute.g.iter().chain(&attribute.graphs));
            }
        } else {
            return;
        }
    }
}

/// The files that the model's tensors have used so far.
#[derive(Debug)]
pub(super) struct External {
    home: Option<Home>,
    files: HashMap<String, Bytes>,
}

/// Where a tensor's bytes lie.
#[derive(Debug, Default)]
struct Place {
    location: Option<String>,
    offset: Option<u64>,
    length: Option<u64>,
}

impl External {
    /// Files below the folder of a model.
    pub(super) fn new(home: Option<Home>) -> Self {
        Self { home, files: HashMap::new() }
    }

    /// The `needed` bytes that the entries of a tensor point to.
    pub(super) fn read(&mut self, entries: &[StringStringEntryProto], needed: u64) -> Result<Bytes> {
        let place = Place::parse(entries)?;
        let Some(location) = place.location else { bail_invalid!("external data has no location") };
        let file = match self.files.get(&location) {
            Some(file) => file.clone(),
            None => {
                let Some(home) = &self.home else {
                    bail_invalid!("external data '{location}' needs the folder of the model");
                };
                let file = open(home, &location)?;
                let io = |e| Error::invalid(format!("cannot read external data '{location}': {e}"));
                let bytes = mapped::map(&file).map_err(io)?;
                self.files.insert(location.clone(), bytes.clone());
                bytes
            }
        };
        let size = file.len() as u64;
        let offset = place.offset.unwrap_or(0);
        let length = place.length.unwrap_or(needed);
        if length != needed {
            bail_invalid!("external data has length {length}, type and shape need {needed}");
        }
        if length > size || offset > size - length {
            bail_invalid!(
                "external data '{location}' has {size} bytes, the tensor needs {length} from offset {offset}"
            );
        }
        // Both fit usize: they are within the length of a slice.
        Ok(file.slice(offset as usize..(offset + length) as usize))
    }
}

impl Place {
    fn parse(entries: &[StringStringEntryProto]) -> Result<Self> {
        let mut place = Self::default();
        for entry in entries {
            let (key, value) = (entry.key.as_str(), entry.value.as_str());
            let doubled = match key {
                "location" => place.location.replace(value.to_owned()).is_some(),
                "offset" => place.offset.replace(number(key, value)?).is_some(),
                "length" => place.length.replace(number(key, value)?).is_some(),
                "checksum" => false,
                _ => bail_invalid!("external data has the unknown key '{key}'"),
            };
            if doubled {
                bail_invalid!("external data has the key '{key}' twice");
            }
        }
        Ok(place)
    }
}

fn number(key: &str, value: &str) -> Result<u64> {
    value
        .parse()
        .map_err(|_| Error::invalid(format!("external data has {key} '{value}', not a size in bytes")))
}

fn open(home: &Home, location: &str) -> Result<File> {
    let refuse = |why: &str| Error::invalid(format!("external data location '{location}' {why}"));
    let unreadable = |e: std::io::Error| refuse(&format!("cannot be read: {e}"));
    if location.is_empty() || location.contains(['\\', '\0']) {
        return Err(refuse("is not a relative path with '/'"));
    }
    let mut path = home.folder.clone();
    let mut last: Option<Metadata> = None;
    for component in Path::new(location).components() {
        match component {
            Component::CurDir => continue,
            Component::Normal(name) => path.push(name),
            _ => return Err(refuse("leaves the folder of the model")),
        }
        if last.is_some_and(|above| above.is_symlink()) {
            return Err(refuse("goes through a symbolic link"));
        }
        last = Some(fs::symlink_metadata(&path).map_err(unreadable)?);
    }
    if last.as_ref().is_some_and(Metadata::is_symlink) {
        path = path.canonicalize().map_err(unreadable)?;
        if home.behind_links.is_none() || path.parent() != home.behind_links.as_deref() {
            return Err(refuse("is a symbolic link to a file that does not lie beside the model's own"));
        }
        // A path without links, unless one is put there now.
        last = Some(fs::symlink_metadata(&path).map_err(unreadable)?);
    }
    let seen = last.filter(Metadata::is_file).ok_or_else(|| refuse("is not a regular file"))?;
    let file = File::open(&path).map_err(unreadable)?;
    let opened = file.metadata().map_err(unreadable)?;
    if !same_file(&seen, &opened) {
        return Err(refuse("changed while it was opened"));
    }
    if links(&opened) > 1 {
        return Err(refuse("has more than one hard link"));
    }
    Ok(file)
}

#[cfg(unix)]
fn same_file(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(unix)]
fn links(meta: &Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    meta.nlink()
}

#[cfg(not(unix))]
fn same_file(a: &Metadata, b: &Metadata) -> bool {
    (a.len(), a.modified().ok()) == (b.len(), b.modified().ok())
}

#[cfg(not(unix))]
fn links(_: &Metadata) -> u64 {
    1
}
